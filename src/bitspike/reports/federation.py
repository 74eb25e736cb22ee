"""What a page says of a federation: accuracy over rounds and over bits, how clients differ, what was refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bitspike.errors import refuse
from bitspike.reports import figures
from bitspike.reports.measurement import Measurement, Progress
from bitspike.reports.rundata import RunData, number, section
from bitspike.reports.sections import Section
from bitspike.reports.style import BLUE, MUTED, VERMILION
from bitspike.reports.tables import Table
from bitspike.reports.text import fixed, whole
from bitspike.tables.measurement import Federation as FederationOptions


class Federated(Measurement):
    """How a federation went."""

    file = FederationOptions.file

    @classmethod
    def takes(cls, run: Any) -> bool:
        """Never: it is written while the federation runs."""
        return False

    def measure(self, run: Any, part: str, data: Path | None = None, progress: Progress = None) -> dict[str, Any]:
        """Refused."""
        refuse("--measure", "federation", "another one: `bitspike federate` writes it while it runs")

    @classmethod
    def check(cls, found: dict[str, Any], place: str) -> None:
        """Refuse rounds that are no tables."""
        rows = found.get("rounds")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            refuse(f"{place} rounds", "no list of tables", "a table for each round")

    @classmethod
    def sections(cls, run: RunData, found: dict[str, Any]) -> list[Section]:
        """One section."""
        rows = found["rounds"]
        name = "rmse" if run.is_regression else "accuracy"
        shown: list[tuple[str, tuple[str, ...], str]] = [("the network", (name,), BLUE)]
        if not run.is_regression:
            shown += [("worst-served client", ("by_client", "min"), MUTED),
                      ("best-served client", ("by_client", "max"), VERMILION)]  # fmt: skip
        lines, looks = [], []
        for label, keys, colour in shown:
            at, values = _curve(rows, keys)
            if len(at):
                lines.append((label, at, values))
                looks.append((colour, "-"))
        if not lines:
            return []
        title = "Root-mean-square error" if run.is_regression else "Accuracy"
        percents = not run.is_regression
        drawn = [figures.curves(lines, f"{title} on validation", "round", percent=percents, looks=looks)]
        sent = np.cumsum([(number(row, "bits_up") or 0.0) / 1e6 for row in rows])
        known = [None not in (number(row, "round"), number(row, name)) for row in rows]
        over = [("the network", sent[known], lines[0][2])]
        drawn.append(figures.curves(over, f"{title} over what clients sent", "megabit", percent=percents))
        caption = (
            "After each round. The server measures on validation examples of its own, which no client has; its "
            "temperature is fitted on these. A client is served as well as validation's classes are, mixed as in its "
            "share."
        )
        return [Section("federation", "How clients learned it together", caption, drawn, table=_table(found))]


def _curve(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> tuple[Any, Any]:
    pairs = [(number(row, "round"), number(row, *keys)) for row in rows]
    known = np.array([pair for pair in pairs if None not in pair], dtype=float).reshape(-1, 2)
    return known[:, 0], known[:, 1]


def _table(found: dict[str, Any]) -> Table:
    rows, shares = found["rounds"], section(found, "shares")
    sizes = " / ".join(whole(number(shares, key)) for key in ("min", "median", "max"))
    refused = section(found, "refused")
    few = sum(row.get("state") == "too few replies" for row in rows)
    epsilons = [value for row in rows if (value := number(row, "epsilon")) is not None]
    entries = [
        ["clients, of them asked in a round", f"{whole(number(found, 'clients'))}, {whole(number(found, 'asked'))}"],
        ["examples of a client (least / median / most)", sizes],
        ["shared out by", str(found.get("partition", "–"))],
        ["replies added up by", str(found.get("aggregator", "–"))],
        ["replies written as", str(found.get("codec", "–"))],
        ["statistics of normalisation", _statistics(found)],
        ["optimisers of clients", str(found.get("learner_state", "–"))],
        ["sent by clients, all rounds", _bits(found, "bits_up")],
        ["sent to clients, all rounds", _bits(found, "bits_down")],
        ["sent by clients to settle statistics at the end", _bits(section(found, "settled"), "bits_up")],
        ["sent to clients for that", _bits(section(found, "settled"), "bits_down")],
        ["deviation of replies, first and last round", " and ".join(_deviations(rows)) or "–"],
        ["rounds with too few replies", whole(float(few))],
        ["replies refused", whole(float(sum(n for n in refused.values() if isinstance(n, int))))],
    ]
    if epsilons:
        entries.append(["epsilon of differential privacy, all rounds", fixed(epsilons[-1], 2)])
    entries += [[f"refused of client {client}", _why(rows, client)] for client in list(refused)[:10]]
    return Table(["", "here"], entries, "Bits are those of every tensor of every message that came in time.")


def _statistics(found: dict[str, Any]) -> str:
    if found.get("statistics") == "home":
        return "stay at home; the server's are of its validation inputs"
    return "travel as sums" if number(found, "settled", "clients") else "travel as sums (there are none)"


def _deviations(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in (rows[0], rows[-1]) if rows else ():
        if (value := number(row, "deviation", "mean")) is not None:
            yield fixed(value, 3)


def _why(rows: list[dict[str, Any]], client: str) -> str:
    said = [str(section(row, "refused")[client]) for row in rows if client in section(row, "refused")]
    return f"{len(said)} times; last: {said[-1]}" if said else "–"


def _bits(found: dict[str, Any], key: str) -> str:
    value = number(found, key)
    return "–" if value is None else f"{value / 1e6:,.3f} Mbit"
