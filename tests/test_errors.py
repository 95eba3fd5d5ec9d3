"""A refusal is one line, whatever names it quotes."""

from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import FormatError, UserError


@given(st.text())
def test_any_text_becomes_one_printable_line(text):
    said = str(UserError(f"{text}: is wrong"))
    assert said.isprintable()
    assert len(said.splitlines()) == 1


def test_control_sequences_and_broken_names_are_escaped():
    assert str(UserError("\x1b]0;X\x07a\udcff.jpg: bad\n  file")) == r"\x1b]0;X\x07a\udcff.jpg: bad file"


def test_a_format_error_says_where():
    error = FormatError("a.rec", 8, "truncated")
    assert (str(error), error.offset, error.reason) == ("a.rec: offset 8: truncated", 8, "truncated")
    assert str(FormatError("a.csv", 3, "no label", unit="line")) == "a.csv: line 3: no label"
    assert str(FormatError("a.csv", None, "empty")) == "a.csv: empty"
