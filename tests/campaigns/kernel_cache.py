"""Thousands of damaged files in the kernel cache: none stops a kernel, gives a wrong value or takes long.

Run: python -m tests.campaigns.kernel_cache [--mutants 3000] [--seed 0]. Each mutant damages the kept kernel or a table
of times in one way drawn by the seed, then loads both as a process would, and checks the value and that the next load
takes what was made again. Last, processes with one empty cache compile the same kernels at the same time. Prints what
was counted; exit code 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.campaigns.clock import idle
from tests.resident import resident

from bitspike.kernels import cache
from bitspike.kernels.cpu.compiled import compiled
from bitspike.products import table

LONGEST, MOST = 10.0, 2 << 30  # seconds of work on one mutant; bytes of memory
PATIENCE = 6  # times as long, where it waits for something
TIMES = {"float32": 2.0, "int8": 1.0}
Draw = random.Random


def doubled(x: float) -> float:
    return x + x


def bits(draw: Draw, path: Path) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 1, 8, 64))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def cut(draw: Draw, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content))])


def spliced(draw: Draw, path: Path) -> None:
    content = path.read_bytes()
    a, b = sorted(draw.randrange(len(content)) for _ in range(2))
    path.write_bytes(draw.choice((content[:a] + content[b:], content[:b] + content[a:], content[a:] + content[:a])))


def garbage(draw: Draw, path: Path) -> None:
    path.write_bytes(draw.randbytes(draw.choice((0, 1, 100, 10_000))))


def signed(draw: Draw, path: Path) -> None:
    """Content that is no kernel, under the right sum; or numbers that are none, in a table."""
    if path.suffix == ".json":
        path.write_text(draw.choice(('{"class": "c", "seconds": {"float32": NaN}}', "[" * 9999, "1e999", '"c"', "{}")))
    else:
        cache.write(path.name, draw.choice((b"", b"\x80\x04.", b"\x80\x04N.", draw.randbytes(99), b"(" * 99)))


def text(draw: Draw, path: Path) -> None:
    path.write_bytes(draw.choice((b"\xff\xfe", b"\x00" * 99, "é\n".encode("latin-1") * 9, b"\n" * 9)))


def other(draw: Draw, path: Path) -> None:
    """Something else in the place of the file, or of its folder."""
    place = draw.choice((path, path.parent))
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    draw.choice((place.mkdir, place.touch, lambda: os.mkfifo(place), lambda: place.symlink_to(place)))()


KINDS: tuple[Callable[[Draw, Path], None], ...] = (bits, bits, bits, cut, spliced, garbage, signed, text, other)


def loaded() -> None:
    """As a new process would: the kernel and the table, whatever there is."""
    table.forget()
    if compiled(doubled)(1.5) != 3.0:
        raise ArithmeticError("a wrong value")
    times = table.seconds("c", lambda: TIMES)
    if times is not None and min(times.values()) <= 0:
        raise ArithmeticError("a wrong time")


def mutants(count: int, seed: int) -> collections.Counter[str]:
    """Damage and load `count` times; how often what went wrong."""
    found: collections.Counter[str] = collections.Counter()
    folder = cache.folder()
    loaded()
    for number in range(count):
        draw = Draw(f"{seed} {number}")
        damage = draw.choice(KINDS)
        (kernel,), (times,) = (folder / "compiled").glob("*.kernel"), (folder / "products").glob("*/*.json")
        path = draw.choice((kernel, kernel, times))
        damage(draw, path)
        began, used = idle(), time.process_time()
        try:
            loaded()
            again = compiled(doubled)
            again(1.5)
            if not sum(again._cache_hits.values()):
                raise RuntimeError("what was made again is not kept")
            if not times.is_file():
                raise RuntimeError("the table is not kept")
        except Exception:
            found[f"{damage.__name__}: {traceback.format_exc(limit=-1).splitlines()[-1]}"] += 1
            print(f"mutant {number}, {damage.__name__}, {path.name}:\n{traceback.format_exc()}", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            loaded()
        if time.process_time() - used > LONGEST or idle() - began > PATIENCE * LONGEST:
            found["slow"] += 1
    if resident() > MOST:
        found["memory"] += 1
    return found


LIF = """
import torch, bitspike
from bitspike.neurons import LIF
layer = LIF(5.0); layer.back_end = "cpu"
x = torch.full((9, 2, 32), 0.3, requires_grad=True)
y = layer(x); y.sum().backward()
print(int(y.sum()), float(x.grad.sum()))
"""


def at_once(processes: int, rounds: int) -> collections.Counter[str]:
    """Processes that find the same empty cache: all say the same and nothing else."""
    found: collections.Counter[str] = collections.Counter()
    answers = set()
    for _ in range(rounds):
        shutil.rmtree(cache.folder())
        command = [sys.executable, "-c", LIF]
        running = [subprocess.Popen(command, stdout=-1, stderr=-1, text=True) for _ in range(processes)]
        for process in running:
            out, err = process.communicate(timeout=600)
            answers.add(out)
            found["a process failed or said something"] += int(bool(process.returncode or err))
    found["processes differ"] += len(answers) - 1
    return +found


def main() -> int:
    """0 if nothing went wrong."""
    parser = argparse.ArgumentParser(description="damaged files in the kernel cache")
    parser.add_argument("--mutants", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BITSPIKE_CACHE"] = folder
        found = mutants(chosen.mutants, chosen.seed) + at_once(4, 2)
    print(f"{chosen.mutants} mutants, 8 processes at once: {dict(found) or 'nothing went wrong'}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
