"""Which loop over time a recurrent cell trains with: the plain one under autograd, or one without a graph."""

from __future__ import annotations

from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels.cpu import back_end as cpu
from bitspike.kernels.run import Choice
from bitspike.kernels.transforms import transformed

BACK_ENDS = ("auto", "reference", "cpu")
PRODUCTS = ("exact", "fast", "float32")


def check_back_end(cell: str, back_end: str) -> None:
    """Refuse a name that is none."""
    if back_end not in BACK_ENDS:
        refuse(f"{cell} back end", repr(back_end), ", ".join(BACK_ENDS))


def check_products(cell: str, products: str) -> None:
    """Refuse a name that is none."""
    if products not in PRODUCTS:
        refuse(f"{cell} products", repr(products), ", ".join(PRODUCTS))


def check_sizes(cell: str, **sizes: int) -> None:
    """Refuse what is no whole number of 1 or more."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            refuse(f"{cell} {name}", size, "1 or more")


def checked_last(last: int | None, steps: int, cell: str = "lmu") -> int:
    """How many final steps are wanted: all if left out; refuses what the input has not."""
    if last is None:
        return steps
    if isinstance(last, bool) or not isinstance(last, int) or not 1 <= last <= steps:
        refuse(f"{cell} last", last, f"1 to the {steps} steps of the input")
    return last


def choice_for(cell: str, back_end: str, x: Tensor, where: str, obstacle: str | None = None) -> Choice:
    """The loop for input x and why: the one asked for, or an error that says why not.

    where: the module of the loop without a graph; obstacle: what else stands in its way.
    """
    if back_end == "reference":
        return Choice("reference", "asked for")
    obstacle = cpu.unavailable() or ("a torch.func transform is running" if transformed() else obstacle)
    if x.device.type != "cpu":
        obstacle = f"the input is on {x.device.type}"
    elif x.dtype not in cpu.DTYPES:
        obstacle = f"{x.dtype} is neither float32 nor float64"
    if obstacle and back_end == "cpu":
        refuse(f"{cell} back end", "'cpu'", f"one that can run here: {obstacle}")
    return Choice("reference", obstacle) if obstacle else Choice("cpu", f"no graph over time; see {where}")
