"""The one error a person can cause: a single line that names the field, what came and what was wanted."""

from __future__ import annotations

from typing import NoReturn


class BitspikeError(Exception):
    """A mistake in what was handed in (file, option, shape, value); the command exits with code 2 on it.

    The message is one line. Bugs of our own stay ordinary exceptions.
    """


def refuse(field: str, came: object, wanted: str) -> NoReturn:
    """Raise `BitspikeError` with the message "FIELD: got CAME, wanted WANTED"."""
    line = f"{field}: got {came}, wanted {wanted}"
    raise BitspikeError(" ".join(line.split()))
