"""What an answer costs with the updates of its neurons, beside networks without spikes: added up in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitspike.reports.rundata import number

# A network's name, the part of the account, and the arithmetic that its neurons' updates are added to.
PARTS = {
    "network": ("network", "joules_compute"),
    "opponent": ("opponent", "joules_compute"),
    "skipping": ("opponent", "joules_compute_zeros_skipped"),
    "twin": ("non_spiking_twin", "joules_compute"),
}
NAMES = {
    "opponent": "without spikes at the same bits",
    "skipping": "without spikes at the same bits, zeros skipped",
    "twin": "without spikes in float32",
}


def totals(energy: Mapping[str, Any]) -> dict[str, float]:
    """Joules (45 nm arithmetic and neurons' updates) of an answer by network, those that the account knows.

    "network": the one that was counted; "opponent": the same layers at the same bits without spikes; "skipping": the
    same, where products with a zero cost nothing; "twin": in float32.
    """
    found = {}
    for name, (part, key) in PARTS.items():
        arithmetic, neurons = number(energy, part, key), number(energy, part, "joules_neurons")
        if arithmetic is not None and neurons is not None:
            found[name] = arithmetic + neurons
    return found


def cheapest(found: Mapping[str, float]) -> str | None:
    """The network without spikes that costs least; None where none is known."""
    return min((name for name in NAMES if name in found), key=found.__getitem__, default=None)
