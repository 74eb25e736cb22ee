"""The version, below everything that writes it down; `pyproject.toml` reads it from here."""

__version__ = "0.2.0"
