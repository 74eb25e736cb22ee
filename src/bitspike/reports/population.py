"""What a page says of a population: scores over updates, the winner's schedule, who came from whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bitspike.errors import refuse
from bitspike.reports import figures, front, style
from bitspike.reports.measurement import Measurement, Progress
from bitspike.reports.rundata import RunData, number, section
from bitspike.reports.sections import Section
from bitspike.reports.tables import Table
from bitspike.reports.text import whole
from bitspike.tables.measurement import Population as PopulationOptions

MOST_DRAWN = 40  # members in the tree
MOST_SCHEDULES = 8
WORDS = {"pbt": "Population Based Training", "random": "random search", "grid": "a grid"}


class Evolved(Measurement):
    """How a population went."""

    file = PopulationOptions.file

    @classmethod
    def takes(cls, run: Any) -> bool:
        """Never: it is written when a population ends."""
        return False

    def measure(self, run: Any, part: str, data: Path | None = None, progress: Progress = None) -> dict[str, Any]:
        """Refused."""
        refuse("--measure", "population", "another one: `bitspike tune` writes it")

    @classmethod
    def check(cls, found: dict[str, Any], place: str) -> None:
        """Refuse turns and stretches that are no tables."""
        for name in ("turns", "schedule"):
            rows = found.get(name)
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                refuse(f"{place} {name}", "no list of tables", "a table for each")
            if not all(isinstance(row.get("values"), dict) for row in rows):
                refuse(f"{place} {name}", "one without values", "hyperparameters by path")
        for row in found["turns"]:
            if any(type(row.get(name)) is not int for name in ("member", "generation", "updates", "made")):
                refuse(f"{place} turns", "one without its member, generation or updates", "whole numbers")
            parent = row.get("parent")
            if parent is not None and not (isinstance(parent, list) and [type(n) for n in parent] == [int, int]):
                refuse(f"{place} turns", f"parent {parent!r}", "member and generation")
        front.check(found, place)

    @classmethod
    def sections(cls, run: RunData, found: dict[str, Any]) -> list[Section]:
        """Scores and tree, then the schedule."""
        turns = found["turns"]
        if not turns:
            return []
        winner = int(number(section(found, "winner"), "member") or 0)
        metric = str(found.get("metric", "score"))
        drawn = [tree(turns, winner), *scores(turns, winner, metric)]
        caption = (
            "Each line is a member; a dotted one leads from the network that was copied to the one that went on with "
            "it. Whoever the winner's weights go back to is drawn in its colour. Scores are measured on validation "
            "when a member is ready."
        )
        sections = [Section("population", "How members evolved", caption, drawn, table=_table(found))]
        if lines := progress(turns, metric, found.get("direction") == "max"):
            caption = (
                "The best of all scores so far, as turns ended: over all members' updates, and over the time in which "
                "a turn was under way somewhere (starts of workers and pauses left out)."
            )
            sections.append(Section("progress", "The best so far", caption, lines))
        sections += front.sections(found)
        if lines := schedules(found["schedule"]):
            caption = "What the winner's network was trained with; `bitspike tune replay` trains it so from scratch."
            sections.append(Section("schedule", "The schedule that was found", caption, lines))
        return sections


def line_of(turns: list[dict[str, Any]], member: int) -> set[tuple[int, int]]:
    """Nodes that made the last network of a member."""
    known = {(turn["member"], turn["generation"]): turn for turn in turns}
    at = max((node for node in known if node[0] == member), key=lambda node: node[1], default=None)
    found: set[tuple[int, int]] = set()
    while at is not None and at in known and at not in found:
        found.add(at)
        parent = known[at].get("parent")
        at = None if parent is None else (parent[0], parent[1])
    return found


@style.styled
def tree(turns: list[dict[str, Any]], winner: int) -> Figure:
    """Members over updates; a copy leads from its source to its target."""
    known = {(turn["member"], turn["generation"]): turn for turn in turns}
    own = line_of(turns, winner)
    members = sorted({turn["member"] for turn in turns})[:MOST_DRAWN]
    if winner not in members:
        members[-1] = winner
    place = {member: k for k, member in enumerate(members)}
    figure, axes = style.panel(style.PANEL[0], min(7.0, 1.2 + 0.22 * max(8, len(members))))
    for turn in turns:
        if turn["member"] not in place:
            continue
        node, parent = (turn["member"], turn["generation"]), turn.get("parent")
        begin, y = turn["updates"] - turn["made"], place[turn["member"]]
        mine = node in own
        colour, width = (style.VERMILION, 1.8) if mine else (style.BLUE, 0.9)
        axes.plot([begin, turn["updates"]], [y, y], color=colour, linewidth=width, solid_capstyle="butt")
        if parent is not None and parent[0] != turn["member"] and parent[0] in place and tuple(parent) in known:
            looks: Any = {"color": colour, "linewidth": 1.4 if mine else 0.7, "linestyle": (0, (1, 1.5))}
            axes.plot([begin, begin], [place[parent[0]], y], **looks)
    axes.set(xlabel="updates", ylabel="member", title="Who came from whom")
    axes.set_yticks(range(len(members)), [str(member) for member in members])
    axes.invert_yaxis()
    axes.grid(False)
    copies = sum(turn.get("parent") is not None and turn["parent"][0] != turn["member"] for turn in turns)
    beginning = min(own, key=lambda node: known[node]["updates"])[0]
    told = f"{len(members)} members, {copies} copies; the winner, {winner}, goes back to member {beginning}"
    return style.tell(figure, told)


def scores(turns: list[dict[str, Any]], winner: int, metric: str) -> list[Figure]:
    """The metric of each member over its updates."""
    lines, looks = [], []
    for member in sorted({turn["member"] for turn in turns})[:MOST_DRAWN]:
        if member != winner and (curve := _curve(turns, member)) is not None:
            lines.append((f"member {member}", *curve))
            looks.append((style.MUTED, "-"))
    if (curve := _curve(turns, winner)) is not None:
        lines.append((f"member {winner}, which won", *curve))
        looks.append((style.VERMILION, "-"))
    if not lines:
        return []
    return [figures.curves(lines, f"{metric} on validation", "update", looks=looks, named=False)]


def progress(turns: list[dict[str, Any]], metric: str, higher: bool) -> list[Figure]:
    """The best score so far, over updates of all members and over wall-clock time; none of logs without times."""
    if not all((number(turn, "ended") or 0.0) > 0 for turn in turns):
        return []
    made, clock, best = 0, Busy(), None
    rows = []
    for turn in sorted(turns, key=lambda turn: turn["ended"]):
        made += turn["made"]
        seconds = clock.until(turn["ended"] - (number(turn, "seconds") or 0.0), turn["ended"])
        score = number(turn, "score")
        if score is not None and (best is None or (score > best if higher else score < best)):
            best = score
        if best is not None:
            rows.append((made, seconds, best))
    if not rows:
        return []
    updates, seconds, values = np.asarray(rows, dtype=float).T
    looks = [(style.VERMILION, "-")]
    return [
        figures.curves([("best", at, values)], f"best {metric} on validation", unit, looks=looks)
        for at, unit in ((updates, "update of all members"), (seconds, "second"))
    ]


class Busy:
    """Time in which something was under way, of stretches told in the order of their ends."""

    def __init__(self) -> None:
        self.stretches: list[tuple[float, float]] = []

    def until(self, begin: float, end: float) -> float:
        """With one more stretch."""
        while self.stretches and self.stretches[-1][1] >= begin:
            begin = min(begin, self.stretches.pop()[0])
        self.stretches.append((begin, end))
        return sum(end - begin for begin, end in self.stretches)


def _curve(turns: list[dict[str, Any]], member: int) -> tuple[Any, Any] | None:
    pairs = [(turn["updates"], number(turn, "score")) for turn in turns if turn["member"] == member]
    known = [pair for pair in pairs if pair[1] is not None]
    if not known:
        return None
    at, values = np.asarray(known, dtype=float).T
    return at, values


def schedules(stretches: list[dict[str, Any]]) -> list[Figure]:
    """Each number of a schedule over updates, as steps."""
    drawn = []
    paths = list(stretches[0]["values"]) if stretches else []
    for path in paths[:MOST_SCHEDULES]:
        at, values = [], []
        for stretch in stretches:
            begin, end, value = number(stretch, "begin"), number(stretch, "end"), number(stretch["values"], path)
            if begin is not None and end is not None and value is not None:
                at += [begin, end]
                values += [value, value]
        if at:
            line = (path, np.asarray(at), np.asarray(values))
            drawn.append(figures.curves([line], path, "update", looks=[(style.VERMILION, "-")]))
    return drawn


def _table(found: dict[str, Any]) -> Table:
    winner = section(found, "winner")
    score = number(winner, "score")
    survivors = found.get("survivors")
    entries = [
        ["how", WORDS.get(str(found.get("strategy")), "–")],
        ["members", whole(number(found, "members"))],
        ["looked at the others", str(found.get("mode", "–"))],
        ["updates between ready points", whole(number(found, "every"))],
        ["updates, all members", whole(number(found, "updates"))],
        ["exploit, explore", f"{found.get('exploit', '–')}, {found.get('explore', '–')}"],
        ["copies", whole(number(found, "copies"))],
        ["first networks that the last ones go back to", whole(float(len(survivors or [])))],
        ["times that learning broke", whole(number(found, "broken"))],
        [f"the winner's {found.get('metric', 'score')} on validation", "–" if score is None else f"{score:.4g}"],
    ]
    if found.get("strategy") != "pbt":
        entries = [row for row in entries if row[0] not in ("looked at the others", "exploit, explore", "copies")]
    return Table(["", "here"], entries)
