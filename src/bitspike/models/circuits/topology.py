"""Which circuits listen to which: masks (sources, circuits), True where there is a synapse.

Sources are the inputs, then the circuits; circuits are the hidden ones, then the outputs. None listens to itself: its
own last symbols reach it by its feedback filter.

    full            everything reaches all circuits
    no-return       as full, but outputs do not reach hidden circuits (VOWEL)
    recurrent       inputs reach hidden circuits, these one another and the outputs, and outputs one another
    feed-forward    inputs reach hidden circuits, these the outputs; without hidden circuits inputs reach the outputs
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.errors import refuse

TOPOLOGIES = ("full", "no-return", "recurrent", "feed-forward")


def topology(name: str, inputs: int, hidden: int, outputs: int) -> Tensor:
    """The mask (inputs + hidden + outputs, hidden + outputs) of a topology by name."""
    if name not in TOPOLOGIES:
        refuse("model.topology", repr(name), f"one of {', '.join(TOPOLOGIES)}")
    mask = torch.ones(inputs + hidden + outputs, hidden + outputs, dtype=torch.bool)
    seen, within = mask[:inputs], mask[inputs:]
    if name != "full":
        within[hidden:, :hidden] = False
    if name in ("recurrent", "feed-forward") and hidden:
        seen[:, hidden:] = False
    if name == "feed-forward":
        within[:hidden, :hidden] = False
        within[hidden:, hidden:] = False
    within.fill_diagonal_(False)
    return mask
