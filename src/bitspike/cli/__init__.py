"""Floor 7: the `bitspike` command. One small file per verb; no arithmetic here, heavy imports inside verbs."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command; the process ends here."""
    from bitspike.memory import keep_freed

    keep_freed()
    try:
        from bitspike.cli.app import main as run
    except KeyboardInterrupt:  # before there is anything to save, or a handler
        sys.stderr.write("bitspike: stopped\n")
        sys.exit(130)
    run()
