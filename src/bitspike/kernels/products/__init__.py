"""Products of few-bit operands: exact in integers, as fast as the processor found takes them."""

from bitspike.kernels.products.explain import explain_product
from bitspike.kernels.products.kinds import KINDS, POLICIES, Kind, Policy
from bitspike.kernels.products.linear import linear
from bitspike.kernels.products.processor import Capabilities, capabilities

__all__ = ["KINDS", "POLICIES", "Capabilities", "Kind", "Policy", "capabilities", "explain_product", "linear"]
