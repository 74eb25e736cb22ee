"""Floor 7: the `bitspike` command. One small file per verb; no arithmetic here, heavy imports inside verbs."""

from bitspike.cli.app import app, main

__all__ = ["app", "main"]
