"""What the tables of options have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializationInfo, ValidationError, model_serializer

from bitspike.errors import refuse

Positive = Annotated[float, Field(gt=0, le=1e30)]
Count = Annotated[int, Field(ge=1, le=10**12)]
Unread = tuple[Iterable[str], str]  # fields, and why nobody reads them


class Name(NamedTuple):
    """What a table is of: room, the key that says so, the name, and the name that the key has when it is left out."""

    room: str
    key: str
    name: str
    usual: str


class Options(BaseModel):
    """A table of options: no unknown keys, no silent conversions, finite numbers."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    named: ClassVar[Name | None] = None

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """Fields that nothing of this recipe reads; one that is set all the same is refused."""
        yield from ()

    @model_serializer(mode="wrap")
    def _with_name(self, write: Any, info: SerializationInfo) -> dict[str, Any]:
        said: dict[str, Any] = write(self)
        if not self.named or not self.named.key or (info.exclude_defaults and self.named.name == self.named.usual):
            return said
        return {self.named.key: self.named.name, **said}


def _finite(value: Any) -> Any:
    """Refuse numbers that are not finite anywhere in free-form options."""
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(entry)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"numbers must be finite, not {value}")
    return value


Free = Annotated[dict[str, Any], AfterValidator(_finite)]


T = TypeVar("T", bound=Options)


def read(table: type[T], values: Mapping[str, Any], what: str) -> T:
    """The table with these values, read strictly; the first that is wrong is refused as "WHAT option NAME"."""
    for name, value in values.items():
        if name not in table.model_fields:
            refuse(f"{what} option {name}", value, f"one of the options {', '.join(table.model_fields) or '(none)'}")
    try:
        return table.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        came = "nothing" if first["type"].startswith("missing") else repr(first["input"])
        wanted = "a value" if came == "nothing" else first["msg"].removeprefix("Input should be ")
        refuse(f"{what} option {'.'.join(str(part) for part in first['loc'])}", came, wanted)
