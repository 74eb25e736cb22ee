"""Feed-forward spiking networks from a list of layers.

A layer is written as in the papers: `512` (dense), `64r` (dense, whose neurons also feed their spikes back to one
another through weights), `32c3` (convolution, 32 channels, kernel 3, same padding),
`32l3` (the same with weights of its own at every place: local), `p2` (2x2 max pool of spikes, that is OR), `a2`
(2x2 average pool) or `d0.5` (dropout of half the units in training). Dense, convolution and local layers are
weights -> normalisation -> neurons; the last dense layer is a read-out without neurons. `32c3p2` pools the
current before it reaches the neurons, so that a quarter of the neurons run; `32c3s2` has stride 2. A pool with a
stride, `a3s2`, may hang over the edge, as in cuda-convnet: the mean is over what lies inside.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from bitspike import registry
from bitspike.draws import Key, generator
from bitspike.errors import check_name, refuse
from bitspike.kernels.dtypes import once
from bitspike.layers import AveragePool, Dropout, FewBitConv2d, FewBitLinear, Fused, Local2d, Recurrent, Stepwise
from bitspike.layers.scale import without_norm
from bitspike.models.setting import Setting
from bitspike.neurons import Neuron
from bitspike.products import Kind, Policy

COUNT = r"[1-9]\d{0,5}"
LAYER = re.compile(
    rf"(?:(?P<dense>{COUNT})(?P<fed>r)?|(?P<out>{COUNT})c(?P<kernel>{COUNT})(?:s(?P<stride>{COUNT}))?(?:p(?P<inner>{COUNT}))?"
    rf"|(?P<places>{COUNT})l(?P<window>{COUNT})(?:s(?P<every>{COUNT}))?"
    rf"|(?P<pool>[pa])(?P<size>{COUNT})(?:s(?P<step>{COUNT}))?|d(?P<dropped>0?\.\d+))"
)
SPELLINGS = "'512', '64r', '32c3', '32c3s2', '32c3p2', '32l3', 'p2', 'a2', 'a3s2' or 'd0.5'"
# Names of the layers that have a norm behind them.
NORMED = {"hidden": ("dense", "conv", "local"), "convolutions": ("conv", "local")}
NORM_AT = ("all", *NORMED)
ONE_EACH = "one for each weight layer, the read-out too"


class FeedForward:
    """The model of a recipe that is called "feedforward"."""

    @staticmethod
    def from_options(options: Any, setting: Setting, **given: Any) -> nn.Module:
        """The network that a recipe's options describe."""

        def neuron() -> nn.Module:
            made: Any = registry.make(options.neuron)
            if hasattr(made, "back_end"):
                made.back_end = setting.back_end
            return cast(nn.Module, made)

        spiking = getattr(registry.find("neuron", options.neuron.kind), "is_spiking", True)
        if options.norm == "bntt" and not spiking:
            refuse("model.norm", f"'bntt' with '{options.neuron.kind}', which knows no time", "'batch'")
        model: Any = feedforward(
            setting.shape,
            setting.outputs,
            options.layers,
            neuron,
            options.norm,
            (setting.seed, "init"),
            setting.emits,
            setting.products,
            options.deviations,
            options.norm_gain,
            setting.steps,
            setting.binary,
            options.xavier,
            options.norm_at,
        )
        if not spiking:
            # Real convolutions are a good quarter faster with channels last; time loops want them first.
            model = model.to(memory_format=torch.channels_last)
        return cast(nn.Module, model)


def fan_out(layer: nn.Module) -> int:
    """Weights that one input of a dense layer or a convolution meets, borders and strides apart."""
    weight = cast(Tensor, layer.weight)
    return len(weight) * weight[0, 0].numel()


class Flatten(nn.Module):
    """(T, B, *features) to (T, B, product); a view, so a constant input stays recognisable."""

    def forward(self, x: Tensor) -> Tensor:
        """Join the features."""
        return x if x.ndim == 3 else once(lambda part: part.flatten(2), x)


def feedforward(
    shape: tuple[int, ...],
    outputs: int,
    layers: Sequence[str],
    neuron: Callable[[], nn.Module],
    norm: str = "batch",
    keys: tuple[Key, ...] = (0, "init"),
    x_kind: Kind = "real",
    products: Policy = "exact",
    deviations: Sequence[float] | None = None,
    norm_gain: float = 1.0,
    steps: int = 1,
    binary: bool = False,
    xavier: float | None = None,
    norm_at: str = "all",
) -> nn.Sequential:
    """A network from inputs (T, B, *shape) to read-outs (T, B, outputs).

    neuron: makes one neuron module per layer. norm: "batch", "scale" (a gain and offset per channel, starting at
    1/sqrt(fan-in)), "bias" (none: a bias in each weight layer, starting at 0) or another that is registered, over
    `steps` time steps. keys: names the draw of the initial
    weights: uniform +-1/sqrt(fan-in), or +-xavier sqrt(6 / (fan-in + fan-out)), or Gaussian with the standard
    deviations `deviations`, one per weight layer. norm_at: "all" weight layers have a norm behind them, or all but the
    read-out ("hidden"), or convolutions and local layers alone ("convolutions").
    norm_gain: multiplies the initial gains of the norms before neurons. x_kind: what the input is made of ("spikes" for
    0 and 1). products: how few-bit operands are multiplied; see `products`. binary: weights become +-1, so that what is
    fed back has a learned gain, unless norm = "bias".
    """
    make_norm = registry.find("norm", norm, "model norm")
    check_name("model norm_at", norm_at, NORM_AT)
    if xavier is not None and deviations is not None:
        refuse("model xavier", xavier, "it left out beside deviations")
    if norm == "bias" and norm_gain != 1:
        refuse("model norm_gain", norm_gain, "1 where norm = 'bias': there is no norm")
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    current, kind, bias = tuple(shape), x_kind, make_norm is without_norm
    spreads = None if deviations is None else list(deviations)

    def drawn(name: str, layer: nn.Linear | nn.Conv2d | Local2d) -> nn.Module:
        # By a named draw, so that a model is a function of its seed: uniform by fan-in, or Gaussian.
        if spreads is not None and not spreads:
            refuse("model deviations", f"{len(deviations or ())} numbers", ONE_EACH)
        source, deviation = generator(*keys, name), spreads.pop(0) if spreads else None
        with torch.no_grad():
            if deviation is not None:
                layer.weight.normal_(0.0, deviation, generator=source)
            elif isinstance(layer, Local2d):
                if xavier is not None:
                    refuse("model xavier", xavier, "it left out with local layers, whose weights are not shared")
                layer.reset_parameters(source)
            else:
                fan_in = layer.weight[0].numel()
                bound = fan_in**-0.5 if xavier is None else xavier * math.sqrt(6 / (fan_in + fan_out(layer)))
                layer.weight.uniform_(-bound, bound, generator=source)
            if layer.bias is not None:
                layer.bias.zero_()
        return layer

    def weigh(name: str, layer: nn.Linear | nn.Conv2d | Local2d, channels: int, fan_in: int) -> None:
        parts[name] = Stepwise(drawn(name, layer))
        if not bias and (norm_at == "all" or name.startswith(NORMED[norm_at])):
            given = {"channels": channels, "start": fan_in**-0.5, "steps": steps}
            normed = registry.called(make_norm, {}, given)
            if not isinstance(getattr(normed, "weight", None), Tensor):
                refuse(
                    f"model norm '{norm}'", f"a {type(normed).__name__}", "a torch.nn.Module with a `weight` of gains"
                )
            if name != "readout":
                normed.weight.data.mul_(norm_gain)
            parts[f"norm_{name}"] = normed

    def dense(name: str, units: int) -> None:
        nonlocal current
        if len(current) != 1:
            parts[f"flatten_{name}"] = Flatten()
            current = (math.prod(current),)
        weigh(name, FewBitLinear(current[0], units, bias=bias, x_kind=kind, policy=products), units, current[0])
        current = (units,)

    def fire(number: int, fed_back: bool = False) -> Kind:
        made = neuron()
        if fed_back:
            if not isinstance(made, Neuron):
                refuse(f"model layers[{number - 1}]", f"{current[0]}r of {type(made).__name__}", "neurons that spike")
            made = Recurrent(current[0], made, current[0] ** -0.5 if binary and not bias else None)
            drawn(f"feedback{number}", made.feedback)
        parts[f"spikes{number}"] = made
        return getattr(made, "emits", "real")

    def pool(
        number: int, text: str, kind: type[nn.MaxPool2d | nn.AvgPool2d], size: int, step: int | None = None
    ) -> tuple[int, ...]:
        channels, height, width = current
        if min(height, width) < size or (step or 1) > size:
            refuse(f"model layers[{number - 1}]", f"{text!r} on {height}x{width}", "a smaller pool, a stride within it")
        parts[f"pool{number}"] = Stepwise(kind(size) if step is None else kind(size, step, ceil_mode=True))
        if step is None:
            return (channels, height // size, width // size)
        return (channels, -(-(height - size) // step) + 1, -(-(width - size) // step) + 1)

    for number, text in enumerate(layers, 1):
        match = LAYER.fullmatch(str(text).lower())
        if match is None:
            refuse(f"model layers[{number - 1}]", repr(text), SPELLINGS)
        if match["dense"]:
            dense(f"dense{number}", int(match["dense"]))
            kind = fire(number, bool(match["fed"]))
            continue
        if match["dropped"]:
            parts[f"dropout{number}"], kind = Dropout(float(match["dropped"])), "real"
            continue
        if len(current) != 3:
            refuse(f"model layers[{number - 1}]", f"{text!r} on features of shape {current}", "shape (C, H, W)")
        channels, height, width = current
        if match["out"]:
            out, kernel, stride = int(match["out"]), int(match["kernel"]), int(match["stride"] or 1)
            sizes: tuple[Any, ...] = (channels, out, kernel, stride, kernel // 2)
            conv = FewBitConv2d(*sizes, bias=bias, x_kind=kind, policy=products)
            weigh(f"conv{number}", conv, out, channels * kernel**2)
            edge = 2 * (kernel // 2) - kernel
            current = (out, (height + edge) // stride + 1, (width + edge) // stride + 1)
            if match["inner"]:
                current = pool(number, text, nn.MaxPool2d, int(match["inner"]))
            kind = fire(number)
        elif match["places"]:
            out, kernel = int(match["places"]), int(match["window"])
            local = Local2d(channels, out, (height, width), kernel, int(match["every"] or 1), kernel // 2, bias)
            weigh(f"local{number}", local, out, channels * kernel**2)
            current, kind = (out, *local.out_size), fire(number)
        else:
            step = int(match["step"]) if match["step"] else None
            most = match["pool"] == "p"
            current = pool(number, text, nn.MaxPool2d if most else AveragePool, int(match["size"]), step)
            kind = kind if most else "real"
    dense("readout", outputs)
    if spreads:
        refuse("model deviations", f"{len(deviations or ())} numbers", ONE_EACH)
    return Fused(parts)
