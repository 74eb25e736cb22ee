"""Source lines that pool the outputs of a plane, and hand its gradient back, for `cpu_source`.

    y[h, w] = max over a, b < k of row[k h + a, k w + b]

The gradient of y[h, w] goes to the first largest value of its window, row after row, as in torch's max_pool2d; ends
that fill no whole window take part in neither. Windows are written out: k is a number in the source.
"""

from __future__ import annotations


def sizes(k: int) -> list[str]:
    """What both directions need to know of a plane of high x wide."""
    return [f"    rows, columns = index(high // {k}), index(wide // {k})", "    line = index(wide)"]


def forward(k: int) -> list[str]:
    """y[t] of plane i from row."""
    lines = [*_window(k), "        best = v_0_0"]
    lines += [f"        best = v_{n} if v_{n} > best else best" for n in _names(k)[1:]]
    return [*lines, "        y[t, to] = best"]


def backward(k: int) -> list[str]:
    """g_row of plane i from gy[t] and row; what lies outside every window stays 0."""
    lines = _window(k)
    # A tournament, first of the window's rows, then within each: comparisons of neighbours become vector code, a search
    # for the first largest does not.
    for a in range(k):
        lines += _largest_from(f"m_{a}", [f"v_{a}_{b}" for b in range(k)])
    lines += _largest_from("m", [f"m_{a}_0" for a in range(k)])
    lines += _shares("gy[t, to]", "m", [f"m_{a}_0" for a in range(k)], [f"g_{a}" for a in range(k)])
    for a in range(k):
        lines += _shares(
            f"g_{a}", f"m_{a}", [f"v_{a}_{b}" for b in range(k)], [f"g_row[{_at(a, b)}]" for b in range(k)]
        )
    return lines


def _at(a: int, b: int) -> str:
    return f"at_0 + index({a}) * line + index({b})"


def _names(k: int) -> list[str]:
    return [f"{a}_{b}" for a in range(k) for b in range(k)]


def _window(k: int) -> list[str]:
    """The values v of every window."""
    return [
        "for h in range(rows):",
        "    for w in range(columns):",
        "        to = (i * rows + h) * columns + w",
        f"        at_0 = h * index({k}) * line + w * index({k})",
        *(f"        v_{a}_{b} = row[{_at(a, b)}]" for a in range(k) for b in range(k)),
    ]


def _largest_from(name: str, values: list[str]) -> list[str]:
    """NAME_n: the largest of values n and after."""
    lines = [f"        {name}_{len(values) - 1} = {values[-1]}"]
    for n in range(len(values) - 2, -1, -1):
        lines.append(f"        {name}_{n} = {name}_{n + 1} if {name}_{n + 1} > {values[n]} else {values[n]}")
    return lines


def _shares(g: str, name: str, values: list[str], targets: list[str]) -> list[str]:
    """g to the target of the first largest value, zero to the others; NAME_n as from `_largest_from`."""
    lines = [f"        rest = {g}"]
    for n, (value, target) in enumerate(zip(values[:-1], targets[:-1], strict=True)):
        lines.append(f"        {target} = rest if {value} >= {name}_{n + 1} else zero")
        lines.append(f"        rest = zero if {value} >= {name}_{n + 1} else rest")
    return [*lines, f"        {targets[-1]} = rest"]
