import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.tracking.plain_yaml import plain_text, read_plain

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("yaml") / "a.yaml"


@given(value=VALUES)
def test_what_fedpriv_writes_is_read_back(path, value):
    text = plain_text(value).encode()
    path.write_bytes(text)
    assert read_plain(path, len(text)) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [1]\nb: *a\n", "no plain YAML"),
        ("&a [*a]", "no plain YAML"),
        ("[" * 50_000, "no plain YAML"),
        ("!!python/object/apply:os.system ['true']", "no plain YAML"),
        ("!!python/name:os.system", "no plain YAML"),
        ("a: [", "no plain YAML"),
        ("2001-99-99", "month"),
    ],
)
def test_what_is_no_plain_value_is_a_value_error(path, text, reason):
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_plain(path, 2**20)


def test_what_is_larger_is_not_parsed(path):
    path.write_text("[" * 101)
    with pytest.raises(ValueError, match="is larger than 100 bytes"):
        read_plain(path, 100)
