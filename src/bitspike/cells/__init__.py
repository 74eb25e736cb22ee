"""Floor 2: recurrent cells: the Legendre memory, the LMU with and without feedback, loops of gated cells."""

from bitspike.cells.lmu import LMU
from bitspike.cells.parallel_lmu import ParallelLMU

__all__ = ["LMU", "ParallelLMU"]
