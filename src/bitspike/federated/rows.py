"""Rows of rounds: as a checkpoint has them, and what they say of replies that nothing was made of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
DONE, TOO_FEW = "aggregated", "too few replies"
NAMED = 3  # clients that are named, of more that are refused


def checked_rows(rows: Any, rounds: int) -> list[Row]:
    """Rows of a checkpoint: one for each round, with what later rounds and the record read of them."""
    if not isinstance(rows, list) or [row["round"] for row in rows] != list(range(1, rounds + 1)):
        raise ValueError(f"rows that are not those of {rounds} rounds")
    for row in rows:
        counts = [row["bits_up"], row["bits_down"], row["replies"]]
        if not all(isinstance(n, int) and 0 <= n < 2**63 for n in counts) or not isinstance(row["state"], str):
            raise ValueError(f"round {row['round']}: counts or a state that are none")
        if not isinstance(row["refused"], dict) or not all(isinstance(why, str) for why in row["refused"].values()):
            raise ValueError(f"round {row['round']}: refusals that are none")
        if not all(isinstance(client, int) for name in ("asked", "dropped", "late") for client in row[name]):
            raise ValueError(f"round {row['round']}: clients that are none")
    return rows


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Least, mean and largest; None of nothing."""
    if not values:
        return None
    return {"min": min(values), "mean": math.fsum(values) / len(values), "max": max(values)}


def is_learned(rows: Sequence[Row]) -> bool:
    """Whether any round was added up."""
    return any(row["state"] == DONE for row in rows)


def why_unused(rows: Sequence[Row]) -> str:
    """What became of the replies of rounds that were not added up, counted by reason."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for row in rows:
        refused = {client: why for client, why in row["refused"].items() if client in map(str, row["asked"])}
        for why in (one for said in row["refused"].values() for one in said.split("; ")):
            counts[first.setdefault(why.partition(":")[0], f"refused ({why})")] += 1
        counts["dropped out"] += len(row["dropped"])
        counts["too late"] += len(row["late"])
        counts["valid, but fewer than federation.least"] += row["replies"]
        known = len(row["dropped"]) + len(row["late"]) + len(refused) + row["replies"]
        counts["without a reply"] += max(0, len(row["asked"]) - known)
    return ", ".join(f"{count} {what}" for what, count in counts.most_common() if count)


def warnings(rows: Sequence[Row]) -> list[str]:
    """A line on rounds that were not added up, and on each client that is refused whenever it is asked."""
    lines = []
    if few := [row for row in rows if row["state"] != DONE]:
        said = f"{len(few)} of {len(rows)} rounds left the network as it was, with too few replies to use"
        lines.append(f"{said}: {why_unused(few)}")
    due: dict[int, list[str]] = {}
    for row in rows:
        for client in sorted(set(row["asked"]) - set(row["dropped"]) - set(row["late"])):
            due.setdefault(client, []).append(row["refused"].get(str(client), ""))
    always = {client: whys for client, whys in sorted(due.items()) if all(whys)}
    for client, whys in list(always.items())[:NAMED]:
        lines.append(f"client {client} was refused in each of its {len(whys)} rounds ({whys[0]})")
    if len(always) > NAMED:
        lines.append(f"so were {len(always) - NAMED} more clients: federation.json says which")
    return lines
