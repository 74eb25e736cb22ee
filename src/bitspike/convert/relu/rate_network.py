"""A spiking network whose firing rates are the activations of a ReLU network, run over time.

    mean over t of spikes_t of a layer  ->  min(max(W h + b, 0), theta),   h: the same of the layer before

An image is a constant current: what depends on it alone is computed once. The rest runs layer by layer on chunks of
steps, all rows of a chunk at once; neurons keep their state from chunk to chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from bitspike.checks import check_finite
from bitspike.convert.entrance import full_precision, given_back, taken
from bitspike.convert.relu.rate_units import MaxUnit, RateUnit, Setting
from bitspike.convert.relu.rules import FIELD, dependent, path_of, size_nodes, spiking_nodes, units_of
from bitspike.errors import check_whole, refuse
from bitspike.layers.by_events import EventLayer

# Bytes of the largest spiking activation in one chunk: with fewer, calls cost more than their work.
CHUNK_BYTES = 32e6
CHUNK = 16  # steps, where a caller leaves the rows to us


class RateNetwork(nn.Module):
    """Integrate-and-fire neurons in the place of ReLUs. Made by `relu_to_spiking`.

    largest: values of one example's largest spiking activation. average_pools: paths of the max pools that means stand
    for. unfolded: paths of the batch norms that stayed a gain and an offset at every step. end: the softmax or sigmoid
    that was left off. silent: paths of the ReLUs that never answered on the data given, whose neurons are silent on it.
    dtype: what is computed in (None: as inputs come, float32 at least); answers have the input's dtype. products:
    "float32" sums the weights of spikes where these are few, "dense" always multiplies: the same but for the order of
    sums.
    """

    products = "float32"

    def __init__(self, net: fx.GraphModule, setting: Setting, largest: int, **notes: Any) -> None:
        super().__init__()
        self.net, self.setting, self.largest = net, setting, largest
        self.average_pools: tuple[str, ...] = tuple(notes.get("average_pools", ()))
        self.unfolded: tuple[str, ...] = tuple(notes.get("unfolded", ()))
        self.silent: tuple[str, ...] = tuple(notes.get("silent", ()))
        self.end: nn.Module | None = notes.get("end")
        self.dtype: torch.dtype | None = notes.get("dtype")
        self.eval().requires_grad_(False)
        self._plan()

    def _plan(self) -> None:
        nodes = list(self.net.graph.nodes)
        images = dependent(self.net, {n for n in nodes if n.op == "placeholder"})
        self._spiking = spiking_nodes(self.net)
        if size_nodes(self.net) - self._spiking:
            # Spikes are reshaped by the size of the image's batch: then the image itself is repeated.
            self._spiking |= images
        self._images = images - self._spiking
        modules = {str(n.target): self.net.get_submodule(str(n.target)) for n in self._spiking if n.op == "call_module"}
        events = {path: EventLayer.make(module) for path, module in modules.items()}
        self._events = {path: layer for path, layer in events.items() if layer is not None}
        self._interpreter = fx.Interpreter(self.net)
        # What nobody reads any more after each node.
        last = {used: node for node in nodes for used in node.all_input_nodes}
        self._done: dict[fx.Node, list[fx.Node]] = {}
        for used, node in last.items():
            self._done.setdefault(node, []).append(used)

    def units(self) -> dict[str, RateUnit]:
        """The neurons by the path of the ReLU they stand for, in the order of the model."""
        return units_of(self.net)

    def reset(self) -> None:
        """Neurons at their first membrane, sums empty."""
        for module in self.net.modules():
            if isinstance(module, RateUnit | MaxUnit):
                module.reset()

    def forget_counts(self) -> None:
        """Count spikes from 0."""
        for unit in self.units().values():
            unit.forget_counts()

    @torch.no_grad()
    def ann(self, x: Tensor, limit: bool = False) -> Tensor:
        """Read-outs (B, C) of the ReLU network with the folded weights, x (B, *shape).

        limit: those that the spikes tend to, with activations cut off at the thresholds and pools as they were swapped.
        """
        inner = self.taken(x)
        with self._as("limit" if limit else "given"), full_precision(inner):
            y: Tensor = self.net(inner)
        return given_back(y, x)

    def taken(self, x: Any) -> Tensor:
        """Images in the dtype that they are computed in."""
        return taken("spiking input", x, self.dtype)

    @contextmanager
    def _as(self, setting: str) -> Iterator[None]:
        before, self.setting.now = self.setting.now, setting
        try:
            yield
        finally:
            self.setting.now = before

    @torch.no_grad()
    def forward(self, x: Tensor, steps: int) -> Tensor:
        """The mean read-out (B, C) of `steps` steps from rest, for images x (B, *shape)."""
        total: Any = 0.0
        for part in self._readouts(self.taken(x), steps):
            total = total + part.sum(0)
        mean: Tensor = total / steps
        return given_back(mean, x)

    @torch.no_grad()
    def running_mean(self, x: Tensor, steps: int) -> Tensor:
        """(T, B, C): the mean read-out of the first 1, 2, ... T steps from rest, for images x (B, *shape)."""
        y = torch.cat(list(self._readouts(self.taken(x), steps))).cumsum(0)
        y = y / torch.arange(1, steps + 1, device=y.device, dtype=y.dtype).view(-1, *(1,) * (y.ndim - 1))
        return given_back(y, x)

    def rows(self) -> int:
        """How many images at a time make good use of the caches."""
        return max(1, min(250, int(CHUNK_BYTES / (4 * CHUNK * self.largest))))

    @torch.no_grad()
    def readouts(self, x: Tensor, steps: int, chunk: int | None = None) -> Iterator[Tensor]:
        """Read-outs (c, B, C) of one chunk of steps after the other, from rest, for images x (B, *shape)."""
        for part in self._readouts(self.taken(x), steps, chunk):
            yield given_back(part, x)

    @torch.no_grad()
    def _readouts(self, x: Tensor, steps: int, chunk: int | None = None) -> Iterator[Tensor]:
        check_whole("spiking steps", steps)
        if x.ndim < 2 or len(x) == 0:
            refuse("spiking input", tuple(x.shape), "images (B, *shape)")
        check_finite("spiking input", x)
        chunk = chunk or max(1, int(CHUNK_BYTES / (x.element_size() * len(x) * self.largest)))
        self.reset()
        for layer in self._events.values():
            layer.refresh()
        if x.ndim == 4:
            # The order in which convolutions and sums over spikes are fastest; what follows keeps it.
            x = x.contiguous(memory_format=torch.channels_last)
        with full_precision(x):
            still = self._still(x)
        for first in range(0, steps, chunk):
            with full_precision(x):
                part = self._chunk(still, x, min(chunk, steps - first))
            yield part
        self.reset()

    def _still(self, x: Tensor) -> dict[fx.Node, Any]:
        """What does not depend on spikes."""
        env: dict[fx.Node, Any] = {}
        for node in self.net.graph.nodes:
            if node not in self._spiking and node.op != "output":
                env[node] = x if node.op == "placeholder" else self._call(node, lambda n: env[n])
        return env

    def _chunk(self, still: dict[fx.Node, Any], x: Tensor, steps: int) -> Tensor:
        env: dict[fx.Node, Any] = {}
        repeated: dict[fx.Node, Any] = {}

        def rows(node: fx.Node) -> Any:
            """A value of T*B rows, step by step."""
            if node in env:
                return env[node]
            value = still[node]
            if node not in self._images or not isinstance(value, Tensor):
                return value
            if node not in repeated:
                repeated[node] = value.expand(steps, *value.shape).flatten(0, 1)
            return repeated[node]

        for node in self.net.graph.nodes:
            if node not in self._spiking or node.op == "output":
                continue
            module = self.net.get_submodule(node.target) if node.op == "call_module" else None
            if node.op == "placeholder":
                env[node] = x.expand(steps, *x.shape).flatten(0, 1)
            elif isinstance(module, RateUnit | MaxUnit):
                source = node.all_input_nodes[0]
                over = still[source].expand(steps, *still[source].shape) if source in still else None
                y = module.over_time(env[source].unflatten(0, (steps, len(x))) if over is None else over)
                env[node] = y.flatten(0, 1)
            else:
                few = self._by_events(node, rows) if node.op == "call_module" else None
                env[node] = self._call(node, rows) if few is None else few
            if isinstance(env[node], Tensor) and (env[node].ndim == 0 or len(env[node]) != steps * len(x)):
                came = f"a value of shape {tuple(env[node].shape)}"
                refuse(f"{FIELD} {path_of(node)}", came, "the batch as the first dimension throughout")
            for used in self._done.get(node, ()):
                env.pop(used, None)
        output = next(node for node in self.net.graph.nodes if node.op == "output")
        last: Tensor = rows(output.args[0]).unflatten(0, (steps, len(x)))
        return last

    def _by_events(self, node: fx.Node, rows: Any) -> Tensor | None:
        layer = self._events.get(str(node.target)) if self.products == "float32" and not node.kwargs else None
        return None if layer is None or len(node.args) != 1 else layer(rows(node.args[0]))

    def __getstate__(self) -> dict[str, Any]:
        """The plan names nodes of this graph: a copy makes its own."""
        plan = ("_spiking", "_images", "_done", "_events", "_interpreter")
        return {key: value for key, value in self.__dict__.items() if key not in plan}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As saved, with a plan."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._plan()

    def _call(self, node: fx.Node, value: Any) -> Any:
        run = getattr(self._interpreter, node.op)
        return run(node.target, fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value))
