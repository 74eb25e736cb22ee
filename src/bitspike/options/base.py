"""What the tables of options have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializationInfo, model_serializer

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
