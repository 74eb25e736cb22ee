"""What a recipe, the command and a person's own files call by name. Imports neither torch nor NumPy.

A name belongs to a room. What comes with the package is declared in `options/ROOM.py`, by a table of options that
says where its class lies; the class is imported when it is needed. A file of one's own holds both:

    @bitspike.register("neuron", "twice")
    class Twice(bitspike.neurons.Neuron):
        class Options(bitspike.Options):
            theta: float = 1.0

Without a class `Options` the typed keyword parameters of `__init__` are the options. See `plugins` for how own files
are found.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import create_model

from bitspike import plugins
from bitspike.errors import BitspikeError, refuse
from bitspike.options import Options, derived

# Room: the key of a recipe's table that says which of the room it is ("" where no table does).
ROOMS = {
    "neuron": "kind",
    "surrogate": "name",
    "precision": "precision",
    "encoder": "name",
    "norm": "",
    "model": "kind",
    "learner": "rule",
    "data": "",
    "measurement": "",
    "export": "",
}
# What is not read from options but given by the caller, where options are derived from parameters.
GIVEN = {
    "data": ("folder", "seed", "fold"),
    "learner": ("model", "optimisation", "task", "seed", "class_weights"),
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
T = TypeVar("T")


@dataclass
class Entry:
    """One name: the class (or function) it stands for, or "module:Class", and its options once they are known."""

    room: str
    name: str
    of: Any
    table: type[Options] | None
    home: str

    @property
    def options(self) -> type[Options]:
        """The table of options, with the name under the room's key."""
        if self.table is None:
            own = getattr(self.of, "Options", None)
            if own is None or not (isinstance(own, type) and issubclass(own, Options)):
                own = derived(self.of, f"{self.room} '{self.name}'", GIVEN.get(self.room, ()))
            self.table = _named(own, self.room, self.name)
        return self.table

    @property
    def found(self) -> Any:
        """The class or function itself."""
        if isinstance(self.of, str):
            module, _, name = self.of.partition(":")
            self.of = getattr(importlib.import_module(module), name)
        return self.of


_entries: dict[str, dict[str, Entry]] = {room: {} for room in ROOMS}
_declared: set[str] = set()


def register(room: str, name: str, of: str | None = None) -> Callable[[T], T]:
    """Class decorator: `name` in `room` is this class. of: "module:Class" where a table of options is decorated.

    Of a class with options under `Options` these are read; else its typed keyword parameters are.
    """
    _declare(room)
    if not NAME.fullmatch(name):
        refuse(f"register {room}", repr(name), "a name of letters, digits, '-', '_' and '.'")

    def add(made: T) -> T:
        home = f"{getattr(made, '__module__', '?')}:{getattr(made, '__qualname__', made)}"
        # The same name from the same place is a cell of a notebook that runs again.
        if (before := _entries[room].get(name)) is not None and before.home != home:
            refuse(f"register {room} '{name}'", home, f"a name that is free: {before.home} has it")
        _entries[room][name] = entry = Entry(room, name, of or made, None, home)
        if of is not None and isinstance(made, type) and issubclass(made, Options):
            entry.table = _named(made, room, name)
        return made

    return add


def names(room: str) -> list[str]:
    """All names of a room, in the order in which they were registered: first those of the package."""
    return list(_ready(room))


def find(room: str, name: str, field: str = "") -> Any:
    """The class called `name`; refuses a name that the room has not, with the nearest one. field: as in a recipe."""
    return entry(room, name, field).found


def options(room: str, name: str, field: str = "") -> type[Options]:
    """The table of options of `name`, without importing what comes with the package."""
    return entry(room, name, field).options


def entry(room: str, name: str, field: str = "") -> Entry:
    """The entry of `name`, or a refusal with the nearest name."""
    known = _ready(room)
    if name not in known:
        refuse(field or room, repr(name), wanted(room, name))
    return known[name]


def wanted(room: str, name: str) -> str:
    """What would have been right in place of `name`, in words."""
    known = names(room)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    gone = "".join(f"; the own files in '{folder}' are not there (--plugins DIR)" for folder in plugins.missing())
    return f"one of {', '.join(map(repr, known)) or 'none that is registered'}{hint}{gone}"


def about(room: str, name: str) -> str:
    """The first sentence of what `name` says about itself."""
    found = entry(room, name)
    text = inspect.getdoc(found.of if not isinstance(found.of, str) else found.options) or ""
    return re.split(r"(?<=[.;:])\s|\n\n", text, maxsplit=1)[0].replace("\n", " ").rstrip(".;:")


def others(room: str, name: str) -> Iterator[type[Options]]:
    """The options of everything else in the room."""
    return (found.options for other, found in _ready(room).items() if other != name)


def _declare(room: str) -> None:
    """Read what the package declares for a room, the first time."""
    if room not in ROOMS:
        refuse("registry", repr(room), f"one of {', '.join(ROOMS)}")
    if room in _declared:
        return
    _declared.add(room)
    module = f"bitspike.options.{room}"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise


def _ready(room: str) -> dict[str, Entry]:
    """The entries of a room: the package's own, then those of own files."""
    _declare(room)
    plugins.ready()
    return _entries[room]


def _named(table: type[Options], room: str, name: str) -> type[Options]:
    """The table, with `name` as its class attribute under the room's key; of a table that has another name, a copy."""
    key = ROOMS[room]
    if not key:
        return table
    if key in table.model_fields:
        raise BitspikeError(f"{room} '{name}': got an option '{key}', wanted another name: it says which {room} it is")
    if key in table.__dict__:
        table = create_model(table.__name__, __base__=table, __module__=table.__module__, __doc__=table.__doc__)
    setattr(table, key, name)
    return table
