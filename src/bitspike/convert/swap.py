"""Modules of a network put in the place of others, the rest shared."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn


def joined(*parts: str) -> str:
    """A path of its parts, of which some may be empty."""
    return ".".join(part for part in parts if part)


def swapped(module: nn.Module, visit: Callable[[str, nn.Module], nn.Module | None], path: str = "") -> nn.Module:
    """`module` with what visit(path, module) gives in the place of modules; None: look below.

    Only the modules above a swapped one are copied, and share all else with those they were copied from.
    A module may name children that stay as they are (`unswapped`).
    """
    made = visit(path, module)
    if made is not None:
        return made
    children: dict[str, Any] = {}
    for name, child in module._modules.items():
        stays = name in getattr(module, "unswapped", ())
        children[name] = child if child is None or stays else swapped(child, visit, joined(path, name))
    if all(children[name] is child for name, child in module._modules.items()):
        return module
    twin = copy.copy(module)
    twin.__dict__["_modules"] = children
    return twin
