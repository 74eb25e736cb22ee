"""Copies of one network that learn side by side, as one stack of tensors."""

from bitspike.learners.stacked.stack import Stack

__all__ = ["Stack"]
