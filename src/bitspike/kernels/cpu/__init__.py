"""The CPU back end: Numba source and runner, threads, buffers, and loops written by hand."""
