"""Random numbers that depend on what they are for, never on the process that draws them.

A draw is named by integers and words, for example `(seed, "encode", step, example)`. The name is
hashed to 64 bits and seeds a `torch.Generator` of its own, so the same name gives the same numbers
in any process, at any rank, after any interruption.

Large draws come from a counter instead: Threefry-2x32 with 13 rounds, keyed by the same 64 bits (Salmon et al. 2011,
"Parallel random numbers: as easy as 1, 2, 3"). Compiled loops draw the same numbers where they are used
(`kernels.cpu.draws`). Number i of each `HALF` counters c gives two values, at i and `HALF` + i of 2 `HALF` places:

    uniform   u = (word >> 8) / 2^24
    normal    sqrt(-2 log(1 - u0)) cos(2 pi u1)  and  sqrt(-2 log(1 - u0)) sin(2 pi u1)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

Key = int | str
HALF = 512  # counters per block of draws
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
ROUNDS = 13
PARITY = 0x1BD11BDA


def seed_of(*keys: Key) -> int:
    """A 63-bit seed from a name: BLAKE2b of the keys with their types; NumPy's integers are integers."""
    text = "\x1f".join(f"{'int' if isinstance(key, np.integer) else type(key).__name__}:{key}" for key in keys)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*keys: Key, device: torch.device | str = "cpu") -> torch.Generator:
    """A `torch.Generator` seeded by the name `keys`."""
    return torch.Generator(device=device).manual_seed(seed_of(*keys))


@contextmanager
def global_draws(*keys: Key, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, torch's global generator (what modules of one's own draw from) is seeded by the name `keys`.

    Behind it stands where it stood before. Of the generators of the CPU and of `device` alone: torch.manual_seed, which
    seeds those of every device, takes seventy times as long, which updates of small networks would feel.
    """
    generators, device = [torch.default_generator], torch.device(device)
    if device.type == "cuda":
        torch.cuda.init()
        at = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[at])
    before = [each.get_state() for each in generators]
    for each in generators:
        each.manual_seed(seed_of(*keys))
    try:
        yield
    finally:
        for each, state in zip(generators, before, strict=True):
            each.set_state(state)


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


def key_words(*keys: Key) -> tuple[int, int]:
    """The two 32-bit words of a name that key a large draw."""
    seed = seed_of(*keys)
    return seed & 0xFFFFFFFF, seed >> 32


def uniform(count: int, *keys: Key) -> Tensor:
    """`count` uniform [0, 1) numbers, float32."""
    return torch.from_numpy(np.stack(_pairs(count, *keys), 1).reshape(-1)[:count].astype(np.float32))


def normal(count: int, *keys: Key) -> Tensor:
    """`count` numbers of N(0, 1), float32."""
    first, second = _pairs(count, *keys)
    length, angle = np.sqrt(-2 * np.log1p(-first)), 2 * math.pi * second
    both = np.stack((length * np.cos(angle), length * np.sin(angle)), 1)
    return torch.from_numpy(both.reshape(-1)[:count].astype(np.float32))


def _pairs(count: int, *keys: Key) -> tuple[Any, Any]:
    """Two uniform numbers per counter, each (blocks, HALF)."""
    blocks = -(-count // (2 * HALF))
    counters = np.arange(blocks * HALF, dtype=np.uint64)
    words = threefry(counters.astype(np.uint32), (counters >> np.uint64(32)).astype(np.uint32), *key_words(*keys))
    first, second = ((word >> np.uint32(8)).reshape(blocks, HALF) * 2.0**-24 for word in words)
    return first, second


def threefry(x: Any, y: Any, key0: int, key1: int) -> tuple[Any, Any]:
    """Two 32-bit words per counter (x, y), arrays of uint32."""
    keys = [np.uint32(k) for k in (key0, key1, key0 ^ key1 ^ PARITY)]
    x, y = x + keys[0], y + keys[1]
    for number in range(ROUNDS):
        turn = ROTATIONS[number % len(ROTATIONS)]
        x = x + y
        y = ((y << np.uint32(turn)) | (y >> np.uint32(32 - turn))) ^ x
        if number % 4 == 3:
            group = number // 4 + 1
            x, y = x + keys[group % 3], y + keys[(group + 1) % 3] + np.uint32(group)
    return x, y
