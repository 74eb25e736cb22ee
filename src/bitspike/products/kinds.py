"""What an operand of a product is made of, and which sums of such products are exact.

    spikes    0 or 1
    signs     -1 or +1
    integers  whole numbers of -127..127
    real      anything

A sum of `terms` products of few-bit operands is at most LARGEST[x] LARGEST[w] terms: below 2^31 an int32 holds it,
and below 2^24 so does a float32 (above, the int32 sum is rounded once, which no float32 product does better).
"""

from __future__ import annotations

from typing import Literal, get_args

from bitspike.errors import check_name

Kind = Literal["spikes", "signs", "integers", "real"]
Policy = Literal["float32", "exact", "fast"]
Part = Literal["forward", "grad_input", "grad_weight"]

KINDS: tuple[str, ...] = get_args(Kind)
POLICIES: tuple[str, ...] = get_args(Policy)
PARTS: tuple[Part, ...] = get_args(Part)
LARGEST = {"spikes": 1, "signs": 1, "integers": 127}
WANTED = {"spikes": "0 or 1", "signs": "-1 or +1", "integers": "whole numbers of -127..127"}


def few_bit(kind: str) -> bool:
    """Whether an operand of this kind fits an int8."""
    return kind != "real"


def fits_int32(x_kind: str, weight_kind: str, terms: int) -> bool:
    """Whether every sum of `terms` products is an int32."""
    return LARGEST[x_kind] * LARGEST[weight_kind] * terms < 2**31


def fits_float32(x_kind: str, weight_kind: str, terms: int) -> bool:
    """Whether every sum of `terms` products, and every part of it, is exact in float32."""
    return LARGEST[x_kind] * LARGEST[weight_kind] * terms <= 2**24


def check_names(x_kind: str, weight_kind: str, policy: str, part: str = "forward") -> None:
    """Refuse a name that is none of KINDS, POLICIES or PARTS."""
    for field, came, names in (
        ("product x_kind", x_kind, KINDS),
        ("product weight_kind", weight_kind, KINDS),
        ("product policy", policy, POLICIES),
        ("product part", part, PARTS),
    ):
        check_name(field, came, names)


def kinds_of_part(part: str, x_kind: str, weight_kind: str) -> tuple[str, str]:
    """The kinds that matter to one part: a gradient is real, and multiplies only one of the operands."""
    if part == "forward":
        return x_kind, weight_kind
    return ("real", weight_kind) if part == "grad_input" else (x_kind, "real")
