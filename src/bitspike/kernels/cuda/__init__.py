"""The CUDA back end: Triton source and runner."""
