"""The command line that goes on with a training that was stopped."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bitspike import plugins


def again(words: Sequence[str]) -> str:
    """`bitspike` with these words, and with the own files that this command was given: the recipe may name them."""
    own = [word for folder in plugins.asked() for word in ("--plugins", folder)]
    return shlex.join(["bitspike", *own, *words])
