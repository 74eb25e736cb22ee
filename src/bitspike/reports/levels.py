"""The table of levels and bits of a network whose activities are whole numbers."""

from __future__ import annotations

from typing import Any

from bitspike.reports.rundata import RunData, number, section
from bitspike.reports.tables import Table
from bitspike.reports.text import fixed, percent, si, whole

# Reading, its name on the page, how it is written.
READINGS = (
    ("average", "log₂ of levels used", lambda v: fixed(v, 2)),
    ("average_range", "two's complement of the range", lambda v: fixed(v, 2)),
    ("entropy", "entropy", lambda v: fixed(v, 2)),
    ("significant", "log₂(1 + |n|), zeros included", lambda v: fixed(v, 2)),
    ("significant_nonzero", "log₂(1 + |n|), without zeros", lambda v: fixed(v, 2)),
    ("average_by_weight", "log₂ of levels, by weights met", lambda v: fixed(v, 2)),
    ("significant_by_weight", "log₂(1 + |n|), by weights met", lambda v: fixed(v, 2)),
    ("bit_length", "binary digits of |n|, zeros included", lambda v: fixed(v, 2)),
    ("most_levels", "most levels of a unit", whole),
    ("largest", "largest |n|", whole),
    ("silent", "zeros", percent),
    ("adds", "additions of a weight per answer", lambda v: si(v, "")),
)


def levels(run: RunData) -> Table | None:
    """One column per layer of quantised units, and all together."""
    found = section(section(run.result, "bits"), "levels")
    layers = section(found, "layers")
    if not layers or not section(found, "total"):
        return None
    columns: dict[str, Any] = {"all units": found["total"]} | {name: layers[name] for name in layers}
    rows = [["units", *(whole(number(c, "units")) for c in columns.values())]]
    for key, label, written in READINGS:
        rows.append([label, *(written(number(c, key)) for c in columns.values())])
    note = (
        "Bits of the whole numbers n that units send, over all steps and test examples; “bits of an activity” can mean "
        "any of the first three rows. A mean over units, or over units and time."
    )
    kept = number(section(run.result, "bits"), "average_with_real_states")
    average = number(section(run.result, "bits"), "average")
    if kept is not None and average is not None and kept > average:
        note += f" With the real numbers of state that cells keep to themselves at 32 bits, the mean is {kept:.2f}."
    carried = number(section(run.result, "bits"), "average_with_carries")
    if carried is not None:
        note += (
            f" With the rounding errors that units carry to their next step at 32 bits as well, it is {carried:.2f}. "
            "“By weights met”: each unit counts as often as there are weights that it reaches."
        )
    return Table(["bits", *columns], rows, note)
