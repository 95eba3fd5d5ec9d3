import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.he.strict_json import parse_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES))
def test_an_object_is_read_as_it_was_written(content):
    assert parse_object("a file", json.dumps(content).encode(), "card") == content


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": 1, "a": 1}', "a file: is no card (a name stands twice); ask for it again"),
        (b'{"a": {"b": 1, "b": 2}}', "a file: is no card (a name stands twice); ask for it again"),
        (b'[{"a": 1}]', "a file: is no card (it is no JSON object); ask for it again"),
        (b"7", "a file: is no card (it is no JSON object); ask for it again"),
        (b"", "a file: is no card (Expecting value: line 1 column 1 (char 0)); ask for it again"),
        (b"[" * 100_000, "a file: nested too deeply; cards are flat"),
    ],
)
def test_what_could_be_read_in_two_ways_or_none_is_refused(data, said):
    with pytest.raises(UserError) as refused:
        parse_object("a file", data, "card")
    assert str(refused.value) == said


@pytest.mark.parametrize("data", [b"\xff\xfe", b"\x80", b'{"a": 1' + b"0" * 5000 + b"}", b"{'a': 1}"])
def test_what_is_no_json_is_one_line(data):
    with pytest.raises(UserError, match=r"^a file: is no card \(.*\); ask for it again$"):
        parse_object("a file", data, "card")
