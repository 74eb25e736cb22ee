"""A step's equations in print, from the same function that every kernel is generated from."""

from __future__ import annotations

from typing import Any

from bitspike.kernels.recurrence import Recurrence


def formula(recurrence: Recurrence, latex: bool = False) -> list[str]:
    """One equation per line: the new state, then the output; `stop` marks what passes no gradient.

    x is the input of the step, y its output, a prime the state after it. Raises whatever the step raises when it
    cannot take symbols.
    """
    import sympy

    x = sympy.Symbol("x")
    state = recurrence.state(*(sympy.Symbol(name) for name in recurrence.state._fields))
    constants: Any = ()
    if recurrence.constants is not None:
        constants = recurrence.constants(*(sympy.Symbol(name) for name in recurrence.constants._fields))
    output, after = recurrence.step(x, state, constants, recurrence.spike)
    named = [(f"{name}'", value) for name, value in zip(recurrence.state._fields, after, strict=True)]
    named.append(("y", output))
    show = sympy.latex if latex else str
    return [f"{name} = {show(sympy.sympify(value))}" for name, value in named]
