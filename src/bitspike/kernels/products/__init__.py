"""Products of few-bit operands: exact in integers, as fast as the processor found takes them."""

from bitspike.kernels.products.conv_methods import Geometry
from bitspike.kernels.products.conv_operator import conv2d
from bitspike.kernels.products.explain import explain_product
from bitspike.kernels.products.kinds import KINDS, POLICIES, Kind, Policy
from bitspike.kernels.products.linear_operator import linear
from bitspike.kernels.products.processor import Capabilities, capabilities

__all__ = [
    "KINDS",
    "POLICIES",
    "Capabilities",
    "Geometry",
    "Kind",
    "Policy",
    "capabilities",
    "conv2d",
    "explain_product",
    "linear",
]
