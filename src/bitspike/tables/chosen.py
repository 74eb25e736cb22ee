"""Fields of a table that name something of the registry, or hold the options of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from bitspike import registry
from bitspike.options import Options


class Named:
    """Annotation of a text that is a name of a room."""

    def __init__(self, room: str) -> None:
        self.room = room

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._known, handler(source))

    def _known(self, name: str) -> str:
        if name not in registry.names(self.room):
            raise PydanticCustomError("unknown_name", "{wanted}", {"wanted": registry.wanted(self.room, name)})
        return name


class Chosen:
    """Annotation of a table of options: which of the room's things it is of stands in it, under the room's key."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.key, self.default = registry.ROOMS[room][:2]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def table(self, given: Mapping[str, Any]) -> type[Options] | None:
        """The options of what a table names; None for a name that the room has not."""
        name = given.get(self.key, self.default)
        return registry.options(self.room, name) if name in registry.names(self.room) else None

    def _read(self, given: Any) -> Options:
        if isinstance(given, Options):
            return given
        if not isinstance(given, Mapping):
            raise ValueError("a table is wanted")
        if (table := self.table(given)) is None:
            name = given.get(self.key, self.default)
            wanted = PydanticCustomError("unknown_name", "{wanted}", {"wanted": registry.wanted(self.room, name)})
            error = InitErrorDetails(type=wanted, loc=(self.key,), input=name)
            raise ValidationError.from_exception_data(self.room, [error])
        return table.model_validate({key: value for key, value in given.items() if key != self.key})


def usual(room: str) -> Any:
    """A field whose value, left out, is what the room takes by default, with its own defaults."""
    return Field(default_factory=lambda: registry.options(room, registry.ROOMS[room].usual)())


def choice_of(field: FieldInfo) -> Chosen | None:
    """The annotation of a field that holds chosen options."""
    return next((extra for extra in field.metadata if isinstance(extra, Chosen)), None)
