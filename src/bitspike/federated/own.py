"""Codecs, aggregators and partitions of one's own, checked at the door: a server adds up whatever they answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from bitspike import registry
from bitspike.errors import refuse
from bitspike.federated.messages import Form
from bitspike.learners.exchange import Given

SAYS = "as its `parts` says"


def check_roles(field: str, method: str, came: Any, base: Given) -> None:
    """Refuse what `method` gave where it has other roles, names or shapes than `base`."""
    if not isinstance(came, Mapping):
        refuse(field, f"{kind_of(came)} from `{method}`", "tensors by role and name")
    for role in dict.fromkeys([*base, *map(str, came)]):
        here, there = base.get(role, {}), came.get(role, {})
        if not isinstance(there, Mapping):
            refuse(field, f"{kind_of(there)} for role '{role}' from `{method}`", "tensors by name")
        for name in dict.fromkeys([*here, *map(str, there)]):
            place = f"{role} '{name}'"
            if name not in there:
                refuse(field, f"no {place} from `{method}`", f"one of shape {tuple(here[name].shape)}")
            if name not in here:
                refuse(field, f"{place} from `{method}`", "no more than the network has that clients began with")
            check_shape(field, f"{place} from `{method}`", there[name], here[name])


def check_shape(field: str, place: str, came: Any, like: Tensor) -> None:
    """Refuse what is no tensor of the shape of `like`."""
    if not isinstance(came, Tensor) or came.shape != like.shape:
        said = f"shape {tuple(came.shape)}" if isinstance(came, Tensor) else kind_of(came)
        refuse(field, f"{said} for {place}", f"a tensor of shape {tuple(like.shape)}")


def check_written(field: str, packet: Any, form: Form) -> None:
    """Refuse a message that is written otherwise than the codec's own `parts` says: no server would read it."""
    _same_names(field, "a message", packet, form)
    for role, names in form.items():
        _same_names(field, f"role '{role}'", packet[role], names)
        for name, wanted in names.items():
            _same_names(field, f"'{name}'", packet[role][name], wanted)
            for part, said in wanted.items():
                _check_part(field, f"'{name}' part '{part}'", packet[role][name][part], said)


def _check_part(field: str, place: str, came: Any, said: Any) -> None:
    try:
        dtypes, shape = said
        fits = all(isinstance(dtype, torch.dtype) for dtype in dtypes) and isinstance(shape, tuple)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        refuse(field, f"{said} for {place} from `parts`", "((dtype, ...), (size, ...))")
    if not isinstance(came, Tensor):
        refuse(field, f"{kind_of(came)} for {place}", "a tensor")
    if came.dtype not in dtypes:
        refuse(field, f"{_dtypes([came.dtype])} for {place}", f"{_dtypes(dtypes)}, {SAYS}")
    if tuple(came.shape) != tuple(shape):
        refuse(field, f"shape {tuple(came.shape)} for {place}", f"{tuple(shape)}, {SAYS}")


def _same_names(field: str, place: str, came: Any, wanted: Any) -> None:
    if not isinstance(wanted, Mapping):
        refuse(field, f"{kind_of(wanted)} for {place} from `parts`", "dtypes and shape of each part")
    if not isinstance(came, Mapping) or set(came) != set(wanted):
        said = f"{list(map(str, came))}" if isinstance(came, Mapping) else kind_of(came)
        refuse(field, f"{said} for {place}", f"{list(wanted)}, {SAYS}")


def _dtypes(some: Collection[torch.dtype]) -> str:
    return " or ".join(str(dtype).removeprefix("torch.") for dtype in some)


def kind_of(value: object) -> str:
    """What a value is, in a word."""
    return "None" if value is None else type(value).__name__


def named(room: str, table: Any) -> str:
    """The field of what a table of [federation] names."""
    return f"federation.{room} '{table.kind}'"


def is_own(room: str, table: Any) -> bool:
    """Whether it does not come with this package."""
    return bool(registry.entry(room, table.kind).is_own)
