"""Where a tensor comes from: spikes that something sent, the input, the weights alone, or arithmetic on real numbers.

A tensor is known by itself, not by its values: a picture of zeros and ones is no train of spikes, and spikes behind a
gain are no real numbers. What is known follows a tensor through the calls made of it (a torch function mode):

    shapes, pieces, copies          the same spikes n
    gains, offsets, batch norm      the same spikes: gains and offsets fold into the weights behind them
    sums and means, average pools   as many spikes as they take in
    largest values, ReLU, dropout   the spikes that are let through
    comparisons, signs, draws       spikes themselves
    anything else                   real numbers

A tensor that was changed in place since is not the one that was known, unless its change was seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from bitspike.convert.relu import linear_calls

Kind = Literal["spikes", "input", "weights"]
GAINS = ("mul", "multiply", "div", "true_divide", "divide", "neg", "negative", "positive")
OFFSETS = ("add", "sub", "subtract", "rsub")
SENDING = ("gt", "ge", "lt", "le", "eq", "ne", "greater", "less", "heaviside", "bernoulli", "sign")
PASSING = (
    "relu", "relu6", "abs", "clamp", "clamp_min", "clamp_max", "clip", "threshold", "dropout", "dropout1d", "dropout2d",
    "dropout3d", "alpha_dropout", "feature_dropout", "hardtanh",
)  # fmt: skip
COPIES = ("clone", "detach", "contiguous", "to", "float", "double", "half", "bfloat16", "type_as", "requires_grad")
POOLED = ("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
JOINED = ("cat", "concat", "concatenate", "stack", "hstack", "dstack", "column_stack")
MADE = ("zeros", "ones", "full", "tensor", "arange", "eye", "linspace", "as_tensor", "scalar_tensor")
FILLED = ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "new_tensor")
SHAPES = {*linear_calls.SHAPED, "getitem", "get", "t", "numpy_T", "ravel", "vsplit", "vstack"}
KEEPING = {*SHAPES, *COPIES, *JOINED, *GAINS, *OFFSETS}


@dataclass
class Known:
    """kind; spikes: their counts n in the tensor's shape (None: its values are they); weights: what it is made of."""

    kind: Kind
    version: int | None
    n: Tensor | None = None
    weights: frozenset[int] = frozenset()


class Origins:
    """What is known of tensors; weights: parameters and buffers of the model."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self._known: Any = WeakTensorKeyDictionary()
        for value in weights:
            self._know(value, "weights", weights=frozenset({id(value)}))

    def _know(self, x: Tensor, kind: Kind, n: Tensor | None = None, weights: frozenset[int] = frozenset()) -> None:
        self._known[x] = Known(kind, _version(x), None if n is x else n, weights)

    def of(self, x: Tensor) -> Known | None:
        """What is known of a tensor; None: arithmetic on real numbers, or nothing at all."""
        found: Known | None = self._known.get(x)
        return found if found is not None and found.version == _version(x) else None

    def sent(self, y: Tensor, n: Tensor | None = None) -> None:
        """y stands for the counts n, in its shape; None: it holds them."""
        self._know(y, "spikes", None if n is None else n.detach())

    def given(self, x: Tensor) -> None:
        """x came in from outside."""
        self._know(x, "input")

    def counts(self, x: Tensor) -> Tensor | None:
        """The counts behind x, where it stands for spikes."""
        found = self.of(x)
        if found is None or found.kind != "spikes":
            return None
        n = x.detach() if found.n is None else found.n
        return n if n.shape == x.shape else None

    def forget(self) -> None:
        """All but the weights."""
        for x, found in list(self._known.items()):
            if found.kind != "weights":
                del self._known[x]

    def follow(self, name: str, function: Any, arguments: Any, options: dict[str, Any], y: Any) -> None:
        """A call `function` of that bare name gave y."""
        tensors = _tensors(arguments) + _tensors(options.values())
        outputs = [each for each in (y if isinstance(y, tuple | list) else (y,)) if isinstance(each, Tensor)]
        if not outputs:
            return
        known = [self.of(x) if x is not outputs[0] else self._known.get(x) for x in tensors]
        moving = [each for each in known if each is not None and each.kind != "weights"]
        if not moving and None not in known and (tensors or name in MADE):
            if tensors or not isinstance(y, Tensor) or y not in self._known:
                roots = frozenset[int]().union(*(each.weights for each in known if each is not None))
                for each in outputs:
                    self._know(each, "weights", weights=roots)
        elif name in FILLED:
            self._know(outputs[0], "weights")
        elif name in SENDING:
            self.sent(outputs[0])
        elif moving and all(each.kind == "input" for each in moving):
            # A picture stays one in another shape or another range.
            for each in outputs if name in KEEPING else ():
                self._know(each, "input")
        elif moving and (found := self._spikes(name, function, arguments, options, outputs, tensors, known)):
            for each, n in zip(outputs, found, strict=False):
                if n is None or n.shape == each.shape:
                    self.sent(each, n)
        else:
            for each in outputs:
                if each in self._known and any(each is x for x in tensors):
                    del self._known[each]

    def _spikes(
        self, name: str, function: Any, arguments: Any, options: dict[str, Any], outputs: list[Tensor],
        tensors: list[Tensor], known: list[Known | None],
    ) -> list[Tensor | None] | None:  # fmt: skip
        """The counts behind each output; None: it is no train of spikes."""
        y = outputs[0]
        if name in GAINS or name in OFFSETS:
            return self._arithmetic(name, y, tensors, known)
        spikes = [each for each in known if each is not None and each.kind == "spikes"]
        if name in JOINED and len(spikes) == len(known):
            if all(each.n is None for each in spikes):
                return [None]
            parts = [self._n(x, each) for x, each in zip(tensors, spikes, strict=True)]
            return [function(parts, *arguments[1:], **options)]
        first = known[0]
        if name in JOINED or first is None or first.kind != "spikes" or not arguments or arguments[0] is not tensors[0]:
            return None
        n, rest = self._n(tensors[0], first), arguments[1:]
        bare = {key: value for key, value in options.items() if key not in ("value", "dtype")}
        if name in COPIES:
            return [first.n]
        if name == "pad":
            return [function(n, *rest[:2], **bare)]
        if name in SHAPES or name in POOLED:
            if first.n is None:
                return [None] * len(outputs)
            made = function(n, *rest, **options)
            return list(made) if isinstance(made, tuple | list) else [made]
        if name == "batch_norm":
            return [n]
        if name in PASSING:
            return [n * (y != 0)]
        if name in ("sum", "mean"):
            return [torch.sum(n, *rest, **bare)]
        if name.endswith(("avg_pool1d", "avg_pool2d", "avg_pool3d")):
            return [_windows(name, function, n, rest, options, y)]
        if name == "interpolate" and (rest[2] if len(rest) > 2 else options.get("mode", "nearest")).startswith("near"):
            return [function(n, *rest, **options)]
        return None

    def _n(self, x: Tensor, known: Known | None) -> Tensor:
        return x.detach() if known is None or known.n is None else known.n

    def _arithmetic(
        self, name: str, y: Tensor, tensors: list[Tensor], known: list[Known | None]
    ) -> list[Tensor | None] | None:
        spikes = [
            (x, each) for x, each in zip(tensors, known, strict=True) if each is not None and each.kind == "spikes"
        ]
        still = all(each is not None for each in known)
        if not still or len(spikes) > (1 if name in GAINS else 2):
            return None
        if len(spikes) == 2 and any(x.shape != y.shape for x, _ in spikes):
            return None
        if name in ("div", "true_divide", "divide") and spikes[0][0] is not tensors[0]:
            return None
        if any(each is not None and each.kind == "input" for each in known):
            return None
        total: Any = 0
        for x, each in spikes:
            # In place, the tensor holds the result already.
            if x is y and each.n is None:
                return None if len(spikes) > 1 else [(y != 0).to(y.dtype)] if name in GAINS else None
            total = total + self._n(x, each).abs() if len(spikes) > 1 else self._n(x, each)
        return [total.expand(y.shape)]


def _windows(name: str, function: Any, n: Tensor, rest: Any, options: dict[str, Any], y: Tensor) -> Tensor | None:
    """As many spikes as the windows of an average pool take in; none for adaptive ones that differ in size."""
    if name.startswith("adaptive"):
        if any(a % b for a, b in zip(n.shape[1:], y.shape[1:], strict=True)):
            return None
        means: Tensor = function(n, *rest, **options)
        return (means * (n.numel() / y.numel())).round()
    names = ("kernel_size", "stride", "padding", "ceil_mode")
    how = dict(zip(names, rest, strict=False)) | {key: value for key, value in options.items() if key in names}
    how["stride"] = how.get("stride") or how["kernel_size"]
    if name == "avg_pool3d":
        return F.avg_pool3d(n, **how, divisor_override=1)
    if name == "avg_pool2d":
        return F.avg_pool2d(n, **how, divisor_override=1)
    flat: dict[str, Any] = {key: value if key == "ceil_mode" else _flat(key, value) for key, value in how.items()}
    return F.avg_pool2d(n.unsqueeze(-2), **flat, divisor_override=1).squeeze(-2)


def _flat(key: str, value: Any) -> tuple[int, int]:
    """A size in one dimension as one in two."""
    return (0 if key == "padding" else 1), int(value[0] if isinstance(value, tuple | list) else value)


def _version(x: Tensor) -> int | None:
    try:
        return x._version
    except RuntimeError:
        return None  # a tensor of inference mode, which cannot tell


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += [each for each in value if isinstance(each, Tensor)]
    return found
