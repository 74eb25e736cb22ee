"""Freed arrays are kept by the command, and nobody's own thresholds are altered."""

import os
import platform
import subprocess
import sys

import pytest

from bitspike.memory import THRESHOLDS

FAULTS = """
import resource, sys
import numpy as np
from bitspike.memory import keep_freed
kept = keep_freed() if sys.argv[1] == "keep" else False
np.ones(1 << 21)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(1 << 21)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(*arguments: str, **more: str) -> list[str]:
    clean = {name: value for name, value in os.environ.items() if name not in (*THRESHOLDS, "GLIBC_TUNABLES")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *arguments], env=clean | more, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_arrays_of_a_training_are_used_again():
    kept, faults = run("keep")
    _, usual = run("leave")
    assert kept == "True"
    # 20 arrays of 16 MB are 80,000 pages (with huge ones 160).
    assert int(faults) < max(50, int(usual) / 10)


@pytest.mark.parametrize(
    "own", [{"MALLOC_TRIM_THRESHOLD_": "1000000"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=9"}]
)
def test_thresholds_of_ones_own_stay(own):
    assert run("keep", **own)[0] == "False"
