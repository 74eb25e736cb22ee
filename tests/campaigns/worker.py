"""The process in which mutants are tried; it says, one JSON object a line, what became of each.

python -m tests.campaigns.worker TARGET SEED FROM TO MATERIAL
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.campaigns import runfiles
from tests.campaigns.readers import READERS, Target
from tests.campaigns.runfiles import RUN_FILES
from tests.resident import resident

LONGEST = 1500  # characters of a message
MEMORY = 2 << 30
# A net below the measurement, so that the machine survives what the measurement is after.
MOST_MEMORY = 6 << 30


class _SelfTest(Target):
    """Mutants 0 to 6 are each kind of outcome: fine, refused, a traceback, a hang, a dead process, memory, fine."""

    def mutant(self, seeds: Sequence[bytes], key: str) -> bytes:
        return key.rpartition(" ")[2].encode()


def _self_test(material: Path, work: Path) -> tuple[list[bytes], Callable[[bytes], object]]:
    from bitspike.errors import BitspikeError

    def use(content: bytes) -> None:
        kind = content.decode()
        if kind == "1":
            raise BitspikeError("one line")
        if kind == "2":
            raise KeyError("a bug")
        if kind == "3":
            time.sleep(60)
        if kind == "4":
            os._exit(3)
        if kind == "5":
            bytearray(MEMORY + (1 << 20))

    return [b"0"], use


TARGETS: dict[str, Target] = READERS | RUN_FILES | {"self-test": _SelfTest(_self_test)}


def peak() -> int:
    """The most memory (resident, bytes) of this process since the last call."""
    most = resident()
    Path("/proc/self/clear_refs").write_text("5")
    return most


def tried(use: Callable[[bytes], object], content: bytes) -> tuple[str, str]:
    """The outcome, "fine", "refused" or "traceback", and what was said."""
    from bitspike.errors import BitspikeError

    try:
        use(content)
    except BitspikeError as error:
        message = str(error)
        if "\n" in message or len(message) > LONGEST or not message.isprintable():
            return "traceback", f"no line: {message[:300]!r}"
        return "refused", message
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:]]
        return "traceback", f"{type(error).__name__}: {str(error)[:200]} at {' > '.join(place)}"
    return "fine", ""


def main(name: str, seed: str, first: str, last: str, material: str) -> None:
    """Try the mutants `first` to `last` (without it) of one target."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    import torch

    torch.set_num_threads(1)

    def say(**record: Any) -> None:
        out.write(json.dumps(record) + "\n")
        out.flush()

    target = TARGETS[name]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seeds, use = target.open(Path(material), Path(folder))
        # Warm: whatever is imported or compiled on the way is so before the clock runs. Every good file must do.
        for number, good in enumerate(seeds):
            outcome, said = tried(use, good)
            say(good=number, outcome=outcome, said=said)
        peak()
        for number in range(int(first), int(last)):
            runfiles.drawn = 0
            outcome, said = tried(use, target.mutant(seeds, f"{name} {seed} {number}"))
            say(mutant=number, outcome=outcome, said=said, peak=peak(), drawn=runfiles.drawn)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(*sys.argv[1:])
