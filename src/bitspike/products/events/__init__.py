"""Products of inputs that are mostly zero with real weights: sums over what is not, in float32."""

from bitspike.products.events.product import Packed, lanes_for, pack, product, unavailable

__all__ = ["Packed", "lanes_for", "pack", "product", "unavailable"]
