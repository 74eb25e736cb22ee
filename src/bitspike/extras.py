"""Parts that are installed only when asked for: one sentence on how, wherever one is missing."""

from __future__ import annotations

import importlib.util
from typing import NoReturn

from bitspike.errors import BitspikeError

# The extra of pyproject.toml, and a module that comes with it.
EXTRAS = {
    "tensorboard": "tensorboard",
    "audio": "soundfile",
    "events": "h5py",
    "cuda": "triton",
    "privacy": "dp_accounting",
    "flower": "flwr",
    "ray": "ray",
    "domains": "gymnasium",
}


def installs(extra: str) -> str:
    """What installs an extra, from the checkout's folder."""
    return f"pip install -e '.[{extra}]'"


def missing(extra: str, field: str) -> NoReturn:
    """Say that an extra is needed for what `field` asked."""
    raise BitspikeError(f"{field}: not installed; in bitspike's folder, {installs(extra)} adds it")


def states() -> dict[str, str]:
    """Each extra: installed, or what installs it."""
    return {
        extra: "installed" if importlib.util.find_spec(module) else f"missing: {installs(extra)}"
        for extra, module in EXTRAS.items()
    }
