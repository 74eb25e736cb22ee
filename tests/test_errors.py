"""A message is one line of a length that can be read, whatever was handed in."""

from __future__ import annotations

import pytest

from bitspike.errors import LONGEST, BitspikeError, refuse


def said(came: object, field: str = "x") -> str:
    with pytest.raises(BitspikeError) as caught:
        refuse(field, came, "less")
    return str(caught.value)


@pytest.mark.parametrize(
    ("came", "shown"),
    [
        ("a\nb\r\n c", "a b c"),
        ("bell\a and \x1b[31mred", "bell\\x07 and \\x1b[31mred"),
        ("half \udc80 of a pair", "half \\udc80 of a pair"),
        ("line\u2028separator", "line separator"),
        ("zero\u200bwidth, right\u202eto left", "zero\\u200bwidth, right\\u202eto left"),
        ("Größe 5 µm, 数", "Größe 5 µm, 数"),
    ],
)
def test_line_breaks_and_what_cannot_be_printed_do_not_reach_the_terminal(came: str, shown: str) -> None:
    assert said(came) == f"x: got {shown}, wanted less"
    assert str(BitspikeError(f"file '{came}'")) == f"file '{shown}'"
    said(came).encode()


def test_long_values_are_shortened_around_their_middle() -> None:
    line = said("1" * 5000 + "9")
    assert line == "x: got " + "1" * 266 + " ... (4,669 more characters) ... " + "1" * 65 + "9, wanted less"
    assert said(10**5000) == "x: got a number of thousands of digits, wanted less"
    assert len(said("y", field="/" + "n" * 9000)) < LONGEST
