"""Floor 0: strict typed tables of options; see `tables` for those of what comes with the package."""

from bitspike.options.base import Count, Free, Name, Options, Positive, Unread, read
from bitspike.options.derived import derived

__all__ = ["Count", "Free", "Name", "Options", "Positive", "Unread", "derived", "read"]
