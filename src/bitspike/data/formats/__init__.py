"""Files of event cameras: one reader and writer for each format, found by the file's first bytes.

    for part in open_events("recording.aedat4"):      # structured arrays (t, x, y, p), in order of time
        ...
    events = read_events("recording.raw")             # the whole recording
    write_events("recording.es", events)

A format is a class in the room "events" of the registry: a file of one's own adds one (`Format` says what it has).
"""

from bitspike.data.formats.base import EVENT, Clock, Format, Source
from bitspike.data.formats.files import EventFile, format_of, open_events, read_events, suffixes
from bitspike.data.formats.writing import arrays, structured, write_events

__all__ = [
    "EVENT",
    "Clock",
    "EventFile",
    "Format",
    "Source",
    "arrays",
    "format_of",
    "open_events",
    "read_events",
    "structured",
    "suffixes",
    "write_events",
]
