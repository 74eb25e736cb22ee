"""A network as a graph of nodes that goes on, slice of time by slice, where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.models.plan.nodes import Input, Node

State = dict[str, Any]
HEADINGS = ("node", "kind", "reads", "shape", "weights", "bits", "fan-in", "fan-out", "constants")
NUMBERS = ("weights", "fan-in", "fan-out")


class Made(NamedTuple):
    """What a node gave of one slice: its outputs (T, B, *shape) and its state behind the last step."""

    node: Node
    output: Tensor
    state: Any


@dataclass(frozen=True, eq=False)
class Plan:
    """nodes: in an order in which each comes behind what it reads, the input first, the answer last.

    member: of Bayesian weights, which ones these are: "MAP", "draw 3 of 40"; "" where nothing is drawn.
    """

    nodes: tuple[Node, ...]
    member: str = ""

    @property
    def input(self) -> Input:
        """The first node."""
        first = self.nodes[0]
        assert isinstance(first, Input)
        return first

    def node(self, name: str) -> Node:
        """The node of this name."""
        found = next((node for node in self.nodes if node.name == name), None)
        if found is None:
            refuse("plan node", repr(name), ", ".join(node.name for node in self.nodes))
        return found

    def initial(self, batch: int) -> State:
        """The state before the first step, of every node by name."""
        if batch < 1:
            refuse("plan batch", batch, "1 example or more")
        return {node.name: node.initial(batch) for node in self.nodes}

    def run(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Answers (T, B, *shape) to x (T, B, *features), and the state that the next slice goes on from.

        state: as the slice before left it, which stays as it is; none at the beginning.
        """
        if x.ndim < 2:
            refuse("plan input", tuple(x.shape), "(T, B, *features)")
        before = self.initial(x.shape[1]) if state is None else state
        after, y = dict(before), x.new_empty(0, *x.shape[1:2], *self.nodes[-1].shape, dtype=self.input.dtype)
        for node, output, left in self.walk(x, before):
            after[node.name] = left
            if node is self.nodes[-1]:
                y = output
        return y, after

    @torch.no_grad()
    def walk(self, x: Tensor, state: State | None = None) -> Iterator[Made]:
        """As `run`, node by node; the input alone, where a slice is too short for a step of the network."""
        state = self.initial(x.shape[1]) if state is None else state
        readers = [name for node in self.nodes for name in node.inputs]
        outputs: dict[str, Tensor] = {}
        for number, node in enumerate(self.nodes):
            given = [outputs[name] for name in node.inputs] if number else [x]
            y, after = node.run(state[node.name], *given)
            yield Made(node, y, after)
            if len(y) == 0:
                return
            outputs[node.name] = y
            for name in node.inputs:
                # What nobody reads any more is not kept.
                readers.remove(name)
                if name not in readers:
                    del outputs[name]

    def rows(self) -> list[dict[str, Any]]:
        """What `table` prints, and the steps of neurons, as JSON takes it: one for each node."""
        return [node.row() for node in self.nodes]

    def table(self) -> str:
        """The nodes as aligned text under their headings."""
        lines = [list(HEADINGS)]
        for before, row in zip((None, *self.nodes), self.rows(), strict=False):
            chained = before is not None and row["inputs"] == [before.name]
            bits = dict.fromkeys(f"{each:g}" for each in row["bits"].values())
            lines.append(
                [
                    row["name"],
                    row["kind"],
                    "" if chained else ", ".join(row["inputs"]),
                    "x".join(map(str, row["shape"])),
                    f"{row['weights']:,}" if row["weights"] else "",
                    "/".join(bits),
                    *("" if row[key] is None else f"{row[key]:,}" for key in ("fan_in", "fan_out")),
                    row["constants"],
                ]
            )
        columns = []
        for column in zip(*lines, strict=True):
            width, put = max(map(len, column)), str.rjust if column[0] in NUMBERS else str.ljust
            columns += [[put(cell, width) for cell in column]] if any(column[1:]) else []
        return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))
