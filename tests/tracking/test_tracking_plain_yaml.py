import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.tracking.plain_yaml import plain_text, read_plain

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 10**20, 10**20 - 1) | st.floats(allow_nan=False) | st.text(),
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
        pytest.param("[" * 50_000, "no plain YAML", id="nested"),
        ("!!python/object/apply:os.system ['true']", "no plain YAML"),
        ("!!python/name:os.system", "no plain YAML"),
        ("a: [", "no plain YAML"),
        ("2001-99-99", "no plain YAML"),
        ("59:59:59", "no plain YAML"),
        ("a: -1:30.5", "no plain YAML"),
        pytest.param("1" + ":59" * 30_000, "no plain YAML", id="long base 60"),
        pytest.param("1" + ":59" * 300 + ".5", "no plain YAML", id="overflows"),
        ("!!float '1:a'", "no plain YAML"),
        ("!!int 'a'", "no plain YAML"),
        ("1" + "0" * 20, "no plain YAML"),
        ("-1" + "0" * 20, "no plain YAML"),
        pytest.param("9" * 5000, "no plain YAML", id="long"),
        pytest.param("0x" + "f" * 100_000, "no plain YAML", id="long hexadecimal"),
    ],
)
def test_what_is_no_plain_value_is_a_value_error(path, text, reason):
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_plain(path, 2**20)


def test_the_longest_numbers_are_read_and_one_more_is_not_written(path):
    longest = 10**20 - 1
    path.write_text(f"[{longest}, -{longest}, {longest:#x}, {longest:#b}, 1_000, '1:30', 2.5]")
    assert read_plain(path, 1000) == [longest, -longest, longest, longest, 1000, "1:30", 2.5]
    with pytest.raises(UserError, match=r"^1000.*\.\.\.: has more than 20 digits; choose a smaller number$"):
        plain_text({"seed": 10**20})


def test_what_is_larger_is_not_parsed(path):
    path.write_text("[" * 101)
    with pytest.raises(ValueError, match="is larger than 100 bytes"):
        read_plain(path, 100)
