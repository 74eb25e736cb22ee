"""Which loop over time a recurrent cell trains with: the plain one under autograd, or one without a graph."""

from __future__ import annotations

from torch import Tensor

from bitspike.errors import check_name, check_whole, refuse
from bitspike.kernels.cpu import back_end as cpu
from bitspike.kernels.run import Choice
from bitspike.kernels.transforms import transformed
from bitspike.notices import notice
from bitspike.products import Capabilities, capabilities

BACK_ENDS = ("auto", "reference", "cpu")
PRODUCTS = ("exact", "fast", "float32")


def check_back_end(cell: str, back_end: str) -> None:
    """Refuse a name that is none."""
    check_name(f"{cell} back end", back_end, BACK_ENDS, ", ".join(BACK_ENDS))


def check_products(cell: str, products: str) -> None:
    """Refuse a name that is none."""
    check_name(f"{cell} products", products, PRODUCTS, ", ".join(PRODUCTS))


def products_here(products: str, can: Capabilities | None = None) -> str:
    """What a recipe's `compute.products` comes to: "fast" is "exact" where bfloat16 would be slower, which is said.

    A processor without bfloat16 multiplies it ten times as slowly as float32. can: what it has; None: this one.
    """
    if products != "fast" or (can or capabilities()).bfloat16:
        return products
    notice("compute.products 'fast': this processor has no bfloat16; loops of recurrent cells multiply in float32")
    return "exact"


def check_sizes(cell: str, **sizes: int) -> None:
    """Refuse what is no whole number of 1 or more."""
    for name, size in sizes.items():
        check_whole(f"{cell} {name}", size, "1 or more")


def checked_last(last: int | None, x: Tensor, inputs: int, cell: str = "lmu") -> int:
    """How many final steps of x (T, B, inputs) are wanted: all if left out; refuses other inputs and more steps."""
    if x.ndim != 3 or x.shape[0] == 0 or x.shape[2] != inputs:
        refuse(f"{cell} input", tuple(x.shape), f"(T, B, {inputs}) with at least one step")
    steps = len(x)
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
