"""More than one objective: who is dominated by nobody, in what order the others follow, what a front is worth.

    a dominates b    a is nowhere worse than b, and better somewhere
    fronts           those that nobody dominates; those that nobody else dominates once these are gone; ...
    crowding         half of what a point's neighbours on its front leave free around it, summed over the objectives,
                     each as a share of the front's range; without end at both ends of the front
    hypervolume      of what lies between a reference and the points that dominate it

The order is that of NSGA-II (Deb et al. 2002): front by front, within a front the lonelier first. Points are costs:
less is better everywhere. Of equals the lower number comes first, so that there is one order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Point = Sequence[float]


def dominates(one: Point, other: Point) -> bool:
    """Whether `one` is nowhere worse and somewhere better."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def fronts(points: Mapping[int, Point]) -> list[list[int]]:
    """Numbers of points, front by front."""
    left, found = dict(sorted(points.items())), []
    while left:
        free = [number for number, point in left.items() if not any(dominates(o, point) for o in left.values())]
        found.append(free)
        for number in free:
            del left[number]
    return found


def crowding(points: Mapping[int, Point]) -> dict[int, float]:
    """How lonely each point of a front is; of points that are equal one stands for all, the others have 0."""
    found = dict.fromkeys(points, 0.0)
    first: dict[tuple[float, ...], int] = {}
    for number in sorted(points):
        first.setdefault(tuple(points[number]), number)
    for axis in range(len(next(iter(first)))):
        order = sorted(first, key=lambda point: (point[axis], first[point]))
        width = order[-1][axis] - order[0][axis]
        for end in (order[0], order[-1]):
            found[first[end]] = math.inf
        if width > 0:
            for below, point, above in zip(order, order[1:], order[2:], strict=False):
                found[first[point]] += (above[axis] - below[axis]) / width / 2
    return found


def ordered(points: Mapping[int, Point]) -> list[int]:
    """Numbers of points, the best first."""
    order: list[int] = []
    for front in fronts(points):
        lonely = crowding({number: points[number] for number in front})
        order += sorted(front, key=lambda number: (-lonely[number], number))
    return order


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Volume of what some point dominates within the reference; points beyond it count for nothing.

    By slices along the last objective: between two of its values the others span the same volume.
    """
    within = sorted({tuple(p) for p in points if all(a < b for a, b in zip(p, reference, strict=True))},
                    key=lambda point: point[-1])  # fmt: skip
    if not within:
        return 0.0
    if len(reference) == 1:
        return reference[0] - within[0][0]
    ends = [point[-1] for point in within[1:]] + [reference[-1]]
    return math.fsum(
        (end - point[-1]) * hypervolume([p[:-1] for p in within[: k + 1]], reference[:-1])
        for k, (point, end) in enumerate(zip(within, ends, strict=True))
        if end > point[-1]
    )
