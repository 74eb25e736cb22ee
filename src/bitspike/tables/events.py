"""Formats of event files: how their names end, and what a reader can be asked for."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bitspike.options import Options
from bitspike.registry import register, trait


class EventOptions(Options):
    """suffixes: of such files. words: what it is called by people."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    words: ClassVar[str] = ""


def words_of(name: str) -> str:
    """What people call a format."""
    return str(trait("events", name, "words", "") or name)


@register("events", "bin", "bitspike.data.formats.bin5:Bin5")
class Bin(EventOptions):
    """Address events in 5 bytes, as of N-MNIST."""

    suffixes = (".bin",)
    words = "5-byte events"


@register("events", "aedat2", "bitspike.data.formats.aedat2:Aedat2")
class Aedat2(EventOptions):
    """AEDAT 2.0 of jAER."""

    suffixes = (".aedat",)
    words = "AEDAT 2.0"
    camera: Literal["DVS128", "DAVIS128", "DAVIS208", "DAVIS240", "DAVIS346", "DAVIS640"] | None = None
    """The camera (default: what the header names, or a DVS128 where no address is wider)."""


@register("events", "aedat3", "bitspike.data.formats.aedat3:Aedat3")
class Aedat3(EventOptions):
    """AEDAT 3.1 of cAER, as of DVS128 Gesture."""

    suffixes = (".aedat",)
    words = "AEDAT 3.1"


@register("events", "aedat4", "bitspike.data.formats.aedat4:Aedat4")
class Aedat4(EventOptions):
    """AEDAT4 of DV."""

    suffixes = (".aedat4",)
    words = "AEDAT4"
    stream: Annotated[int, Field(ge=0)] | None = None
    """Number of the stream of events (default: the first)."""


@register("events", "dat", "bitspike.data.formats.dat:Dat")
class Dat(EventOptions):
    """Prophesee .dat."""

    suffixes = (".dat",)
    words = "Prophesee .dat"


@register("events", "evt2", "bitspike.data.formats.evt2:Evt2")
class Evt2(EventOptions):
    """Prophesee raw stream, EVT 2.0."""

    suffixes = (".raw",)
    words = "Prophesee EVT 2.0"


@register("events", "evt3", "bitspike.data.formats.evt3:Evt3")
class Evt3(EventOptions):
    """Prophesee raw stream, EVT 3.0."""

    suffixes = (".raw",)
    words = "Prophesee EVT 3.0"


@register("events", "es", "bitspike.data.formats.es:EventStream")
class Es(EventOptions):
    """Event Stream of DVS events."""

    suffixes = (".es",)
    words = "Event Stream"


@register("events", "hdf5", "bitspike.data.formats.hdf5:Hdf5")
class Hdf5(EventOptions):
    """HDF5 in the form of SHD and SSC: many recordings in a file."""

    suffixes = (".h5", ".hdf5")
    words = "HDF5 as of SHD"
