"""What measures speed and memory, beside the other libraries and a floor; run by `make benchmark`."""

import os

# Before torch is imported: large arrays on huge pages, where the system leaves that to the program. A fresh 16 MB array
# on 4 KB pages can cost several times the arithmetic on it, and libraries that make one per time step pay it most.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
