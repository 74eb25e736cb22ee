"""Random numbers that depend on what they are for, never on the process that draws them.

A draw is named by integers and words, for example `(seed, "encode", step, example)`. The name is
hashed to 64 bits and seeds a `torch.Generator` of its own, so the same name gives the same numbers
in any process, at any rank, after any interruption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

Key = int | str


def seed_of(*keys: Key) -> int:
    """A 63-bit seed from a name: BLAKE2b of the keys with their types."""
    text = "\x1f".join(f"{type(key).__name__}:{key}" for key in keys)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*keys: Key, device: torch.device | str = "cpu") -> torch.Generator:
    """A `torch.Generator` seeded by the name `keys`."""
    return torch.Generator(device=device).manual_seed(seed_of(*keys))


def uniform_per_example(
    examples: Sequence[int] | Tensor, shape: Sequence[int], *keys: Key, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Uniform [0, 1) numbers of shape (B, *shape); row i depends on `keys` and `examples[i]` alone."""
    numbers = examples.tolist() if isinstance(examples, Tensor) else list(examples)
    out = torch.empty(len(numbers), *shape, dtype=dtype)
    source = torch.Generator()
    for row, example in zip(out, numbers, strict=True):
        source.manual_seed(seed_of(*keys, int(example)))
        torch.rand(row.shape, generator=source, out=row)
    return out
