"""Which back end runs each layer's time loop and which method each product takes, and why."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bitspike.cells.lmu import LMU
from bitspike.kernels import Recurrence, back_end_for
from bitspike.kernels.cpu.source import stored
from bitspike.kernels.dtypes import computing
from bitspike.kernels.recurrence import variant
from bitspike.layers.fused import Fused, groups, hooked_anywhere
from bitspike.layers.product import FewBitConv2d, FewBitLinear, weight_kind
from bitspike.neurons.base import Neuron
from bitspike.products.kinds import PARTS

HEADINGS = ("layer", "kind", "input", "takes", "why", "kept")


class Explained(NamedTuple):
    """layer: its name in the model; takes: back end or product method; kept: bytes per step and value, if a neuron."""

    layer: str
    kind: str
    input: tuple[int, ...]
    takes: str
    why: str
    kept: float | None


def explain_backend(model: nn.Module, x: Tensor, run: Callable[[], object] | None = None) -> list[Explained]:
    """Run `model(x)` once (or `run`, for a model that is called in another way) and say what each layer took.

    x: (T, B, *features) of the size that matters; products are chosen by size. Layers appear in order of execution.
    """
    rows: list[Explained] = []
    joined = _joined(model)
    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            explain = next((e for kind, e in EXPLAINERS.items() if isinstance(module, kind)), None)
            if explain is not None:

                def note(module: Any, inputs: Any, output: Any, name: str = name, explain: Explainer = explain) -> None:
                    row = explain(name, module, inputs[0])
                    rows.append(row._replace(why=row.why + joined.get(name, "")))

                hooks.enter_context(module.register_forward_hook(note))
        run() if run is not None else model(x)
    return rows


def _joined(model: nn.Module) -> dict[str, str]:
    """What neurons share their pass over memory with, by name, as an ending of `why`; see `layers.fused`."""
    found = {}
    for prefix, chain in model.named_modules():
        for part in groups(chain, hooked_anywhere()) if isinstance(chain, Fused) else ():
            # Behind its scale, if it has one.
            own = part.names[0 if part.scale is None else 1]
            others = [name for name in part.names if name != own]
            if others:
                found[f"{prefix}.{own}" if prefix else own] = f"; fused with {', '.join(others)}"
    return found


Explainer = Callable[[str, Any, Tensor], Explained]


def _neuron(name: str, module: Neuron, x: Tensor) -> Explained:
    x = computing(x)
    state, constants = module.initial(x[0]), module.constants()
    recurrence = Recurrence(module.step, type(state), type(constants), module.spike)
    choice = back_end_for(recurrence, x, module.back_end)
    kept = None
    if choice.key:
        learned = tuple(n for n, c in constants._asdict().items() if isinstance(c, Tensor) and c.requires_grad)
        found = variant(recurrence.traced, learned, True, False, ())
        kept = float(x.element_size() * len(stored(recurrence.traced, found.kept)))
    return Explained(name, type(module).__name__, tuple(x.shape), choice.back_end, choice.reason, kept)


def _product(name: str, module: FewBitLinear | FewBitConv2d, x: Tensor) -> Explained:
    kind = f"{module.x_kind} x {weight_kind(module)}"
    found = {part: module.explain(tuple(x.shape), part) for part in PARTS}
    methods = {part: method for part, (method, _) in found.items()}
    takes = methods["forward"]
    if len(set(methods.values())) > 1:
        takes = ", ".join(f"{part.replace('_', ' of ')}: {method}" for part, method in methods.items())
    return Explained(name, kind, tuple(x.shape), takes, found["forward"][1], None)


def _lmu(name: str, module: LMU, x: Tensor) -> Explained:
    choice = module.choice(x)
    why = choice.reason + ("; products in bfloat16 while training" if module.products == "fast" else "")
    return Explained(name, "LMU", tuple(x.shape), choice.back_end, why, None)


EXPLAINERS: dict[type[nn.Module], Explainer] = {
    FewBitLinear: _product,
    FewBitConv2d: _product,
    Neuron: _neuron,
    LMU: _lmu,
}


def table(rows: list[Explained]) -> str:
    """The rows as aligned text under their headings."""
    cells = [list(HEADINGS)]
    for row in rows:
        kept = "" if row.kept is None else f"{row.kept:g} B"
        cells.append([row.layer, row.kind, "x".join(map(str, row.input)), row.takes, row.why, kept])
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)
