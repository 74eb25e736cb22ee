"""Floor 0: what can be asked for by name, as strict typed tables that import neither torch nor NumPy.

One file per room of the registry declares the tables of what comes with the package. The text under a field is its
documentation.
"""

from bitspike.options.base import Count, Free, Options, Positive
from bitspike.options.derived import derived

__all__ = ["Count", "Free", "Options", "Positive", "derived"]
