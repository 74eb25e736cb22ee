"""Products of inputs that are mostly zero with real weights: sums over what is not, in float32."""

from bitspike.kernels.events.product import Packed, pack, product, unavailable

__all__ = ["Packed", "pack", "product", "unavailable"]
