"""Floor 7: the `bitspike` command. One small file per verb; no arithmetic here, heavy imports inside verbs."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

__all__ = ["app", "main"]


def main() -> NoReturn:
    """Run the command; the process ends here."""
    try:
        from bitspike.cli.app import main as run
    except KeyboardInterrupt:  # before there is anything to save, or a handler
        sys.stderr.write("bitspike: stopped\n")
        sys.exit(130)
    run()


def __getattr__(name: str) -> Any:
    """The command itself, imported on first use."""
    if name != "app":
        raise AttributeError(f"module 'bitspike.cli' has no attribute '{name}'")
    from bitspike.cli.app import app

    return app
