"""The one error a person can cause: a single line that names the field, what came and what was wanted."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NoReturn

LONGEST = 1200  # characters of a message
LONGEST_CAME = 400  # characters of what came: enough to know it again
# What making use of content that is not as it was written may raise.
HARM = (
    LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, MemoryError, StopIteration,
    AssertionError,
)  # fmt: skip


class BitspikeError(Exception):
    """A mistake in what was handed in (file, option, shape, value); the command exits with code 2 on it.

    The message is one line, whatever the values and file names in it hold. Bugs of our own stay ordinary exceptions.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(one_line(message), LONGEST))


def one_line(text: str) -> str:
    """White space as single spaces; what cannot be printed (control characters, halves of code points) as escapes."""
    joined = " ".join(text.split())
    if joined.isprintable():
        return joined
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and end around a note of how much was left out."""
    if len(text) <= most:
        return text
    head, tail = most * 2 // 3, most // 6
    return f"{text[:head]} ... ({len(text) - head - tail:,} more characters) ... {text[-tail:]}"


def refuse(field: str, came: object, wanted: str) -> NoReturn:
    """Raise `BitspikeError` with the message "FIELD: got CAME, wanted WANTED"; a long CAME is shortened."""
    try:
        said = str(came)
    except ValueError:  # Python does not print whole numbers of more than 4,300 digits
        said = "a number of thousands of digits"
    raise BitspikeError(f"{field}: got {shortened(one_line(said), LONGEST_CAME)}, wanted {wanted}")


def check_name(field: str, came: object, names: Collection[str], wanted: str = "") -> None:
    """Refuse a word that is not among `names`; wanted: what is said of these, by default "one of A, B"."""
    if came not in names:
        refuse(field, repr(came), wanted or f"one of {', '.join(names)}")


def check_whole(field: str, came: object, wanted: str = "a whole number, 1 or more") -> None:
    """Refuse what is no whole number of 1 or more."""
    if isinstance(came, bool) or not isinstance(came, int) or came < 1:
        refuse(field, came, wanted)


def did_you_mean(name: object, known: Collection[str], cutoff: float = 0.6) -> str:
    """The nearest of the names that are known as a question behind what was wanted; empty where none is near."""
    # A file may have anything in the place of a name.
    near = difflib.get_close_matches(str(name), known, 1, cutoff)
    return f"; did you mean '{near[0]}'?" if near else ""


@contextmanager
def damaged(what: str) -> Iterator[None]:
    """In the body, where the content of a stored file is made use of: what it raises becomes one line on `what`.

    For files that we write ourselves, and that anybody may have altered since.
    """
    try:
        yield
    except HARM as error:
        came = f"{type(error).__name__}: {error}"
        raise BitspikeError(f"{what}: damaged, or of another version ({shortened(came, LONGEST_CAME)})") from error
