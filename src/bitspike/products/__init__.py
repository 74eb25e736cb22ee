"""Products of few-bit operands: exact in integers, as fast as the processor found takes them."""

from bitspike.products.conv_methods import Geometry
from bitspike.products.explain import explain_product
from bitspike.products.kinds import KINDS, POLICIES, Kind, Policy
from bitspike.products.operator import conv2d, linear
from bitspike.products.processor import Capabilities, capabilities

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
