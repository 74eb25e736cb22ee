"""What a recipe, the command and a person's own files call by name. Imports neither torch nor NumPy.

A name belongs to a room. What comes with the package is declared in `tables/ROOM.py`, by a table of options that
says where its class lies; the class is imported when it is needed. A file of one's own holds both:

    @bitspike.register("neuron", "twice")
    class Twice(bitspike.neurons.Neuron):
        class Options(bitspike.Options):
            theta: float = 1.0

Without a class `Options` the typed keyword parameters of `__init__` are the options. See `plugins` for how own files
are found.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from pydantic import create_model

from bitspike import plugins
from bitspike.errors import BitspikeError, check_name, did_you_mean, refuse
from bitspike.options import Name, Options, derived


class Room(NamedTuple):
    """key: of a recipe's table, says which thing of the room the table is of ("": no table does); usual: its default.

    table, by: "module:name" of the options, and of the class made of name and options, that all of the room share.
    like: "module:Class" whose methods each of the room has.
    """

    key: str = ""
    usual: str = ""
    table: str = ""
    by: str = ""
    like: str = ""


ROOMS = {
    "neuron": Room("kind", "lif", like="torch.nn:Module"),
    "surrogate": Room("name", "triangle", "bitspike.tables.surrogate:Usual", "bitspike.neurons.surrogate:Surrogate"),
    "precision": Room("precision", "full", like="bitspike.weights:Precision"),
    "encoder": Room("name", "direct", like="bitspike.coding:Encoder"),
    "norm": Room(usual="batch"),
    "model": Room("kind", "feedforward"),
    "learner": Room("rule", "backprop", like="bitspike.learners:Learner"),
    "data": Room(),
    "events": Room(like="bitspike.data.formats:Format"),
    "measurement": Room(like="bitspike:Measurement"),
    "export": Room(),
    "partition": Room("kind", "iid", like="bitspike.federated.partition:Partition"),
    "aggregator": Room("kind", "weighted-mean", like="bitspike.federated.aggregators:Aggregator"),
    "codec": Room("kind", "full", like="bitspike.federated.codecs.base:Codec"),
    "dimension": Room("kind", "uniform", like="bitspike.population.space:Dimension"),
    "exploit": Room("kind", "truncation", like="bitspike.population.exploit:Exploit"),
    "explore": Room("kind", "perturb"),
}
# What is not read from options but given by the caller, where options are derived from parameters.
GIVEN = {
    "data": ("folder", "seed", "fold"),
    "events": ("source", "size"),
    "encoder": ("shape",),
    "model": ("setting", "shape", "outputs", "steps", "seed"),
    "learner": ("model", "optimisation", "task", "seed", "key", "class_weights", "model_options", "epochs"),
    "explore": ("values", "space", "source"),
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
            room, own = ROOMS[self.room], getattr(self.of, "Options", None)
            if not (isinstance(own, type) and issubclass(own, Options)):
                parts = getattr(sys.modules.get(f"bitspike.tables.{self.room}"), "PARTS", {})
                what = f"{self.room} '{self.name}'"
                given = (*GIVEN.get(self.room, ()), *getattr(self.of, "given_besides", ()))
                own = imported(room.table) if room.table else derived(self.of, what, given, parts)
            self.table = _named(own, self.room, self.name)
        return self.table

    @property
    def is_own(self) -> bool:
        """Whether it comes from an own file or an installed package, not with this one."""
        return not self.home.startswith("bitspike.")

    @property
    def found(self) -> Any:
        """The class or function itself."""
        if isinstance(self.of, str):
            self.of = imported(self.of)
        return self.of

    def check(self, made: Any) -> Any:
        """`made`, a class or what came of it; refused where an own one lacks a method that its room asks for."""
        if self.is_own and (like := ROOMS[self.room].like):
            asked, kind = imported(like), made if isinstance(made, type) else type(made)
            public = (name for name in (*vars(asked), *dir(asked)) if not name.startswith("_"))
            lacks = [name for name in public if callable(getattr(asked, name)) and not hasattr(made, name)]
            if lacks and not issubclass(kind, asked):
                came = f"{kind.__name__} without '{lacks[0]}'"
                refuse(f"{self.room} '{self.name}'", came, f"a {like.replace(':', '.')}")
        return made


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


def classes(room: str) -> dict[str, Any]:
    """Every class (or function) of a room by its name."""
    return {name: found.found for name, found in _ready(room).items()}


def find(room: str, name: str, field: str = "") -> Any:
    """The class called `name`; refuses a name that the room has not, with the nearest one. field: as in a recipe."""
    known = entry(room, name, field)
    return known.check(known.found) if isinstance(known.found, type) else known.found


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
    hint = did_you_mean(name, known)
    gone = "".join(f"; the own files in '{folder}' {why} (--plugins DIR)" for folder, why in plugins.unread().items())
    return f"one of {', '.join(map(repr, known)) or 'none that is registered'}{hint}{gone}"


def about(room: str, name: str) -> str:
    """The first sentence of what `name` says about itself."""
    found = entry(room, name)
    text = inspect.getdoc(found.of if not isinstance(found.of, str) else found.options) or ""
    return re.split(r"(?<=[.;:])\s|\n\n", text, maxsplit=1)[0].replace("\n", " ").rstrip(".;:")


def own() -> dict[str, str]:
    """What own files and installed packages registered: "ROOM NAME" to the class."""
    everything = (found for room in ROOMS for found in _ready(room).values())
    return {f"{e.room} {e.name}": e.home for e in everything if e.is_own}


def own_files(asked: Any) -> dict[str, str]:
    """Of the own things that a resolved recipe (nested tables) names: "ROOM NAME" to the digest of its file."""
    texts = set(_texts(asked))
    entries = [found for room in ROOMS for found in _ready(room).values() if found.name in texts]
    digests = {f"{e.room} {e.name}": plugins.digest_of(e.home.partition(":")[0]) for e in entries}
    return {what: digest for what, digest in digests.items() if digest is not None}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from _texts(part)


def trait(room: str, name: str, attribute: str, default: Any) -> Any:
    """What `name` says of itself: an attribute of its table of options, or of an own class."""
    found = entry(room, name)
    own = default if isinstance(found.of, str) else getattr(found.of, attribute, default)
    return getattr(found.options, attribute, own)


def make(table: Options, **given: Any) -> Any:
    """What a table of options is of, made of them: by its `from_options(table, **given)`, or by a plain call.

    Of `given` a plain call gets what it has parameters for; options within options become what they are of.
    """
    if table.named is None:
        raise TypeError(f"{type(table).__name__} is of nothing that is registered")
    room, key, name, _ = table.named
    if by := ROOMS[room].by:
        return imported(by)(**{key: name}, **dict(table))
    made, known = find(room, name), entry(room, name)
    if (from_options := getattr(made, "from_options", None)) is not None:
        return known.check(from_options(table, **given))
    return known.check(called(made, fields_of(table), given))


def takes(room: str, name: str, parameter: str) -> bool:
    """Whether `make` hands `parameter` on to what `name` is made by."""
    made = find(room, name)
    return hasattr(made, "from_options") or parameter in inspect.signature(made).parameters


def fields_of(table: Options) -> dict[str, Any]:
    """Its fields; options that are of something are that."""
    some = dict(table).items()
    return {key: make(value) if isinstance(value, Options) and value.named else value for key, value in some}


def called(made: Any, fields: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """made(**fields) with those of `given` that it has parameters for."""
    known = inspect.signature(made).parameters
    return made(**{key: value for key, value in given.items() if key in known and key not in fields}, **fields)


def imported(path: str) -> Any:
    """What "module:name" is."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def others(room: str, name: str) -> Iterator[type[Options]]:
    """The options of everything else in the room."""
    return (found.options for other, found in _ready(room).items() if other != name)


def _declare(room: str) -> None:
    """Read what the package declares for a room, the first time."""
    check_name("registry", room, ROOMS)
    if room in _declared:
        return
    _declared.add(room)
    module = f"bitspike.tables.{room}"
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
    key, usual = ROOMS[room][:2]
    if key and key in table.model_fields:
        raise BitspikeError(f"{room} '{name}': got an option '{key}', wanted another name: it says which {room} it is")
    if "named" in table.__dict__:
        table = create_model(table.__name__, __base__=table, __module__=table.__module__, __doc__=table.__doc__)
    table.named = Name(room, key, name, usual)
    if key:
        setattr(table, key, name)
    return table
