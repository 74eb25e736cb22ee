"""This process and its children, and what they listen on, as the system says (Linux: /proc)."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

LISTENS = "0A"
KILLED_SECONDS = 10.0


def _stats() -> Iterator[tuple[int, list[str]]]:
    """(number, words of `stat` behind the name: state, parent, group, session, ...) of every process."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        # The name in brackets may hold anything.
        with contextlib.suppress(OSError):
            yield int(entry.parent.name), entry.read_text().rpartition(")")[2].split()


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    parents = {one: int(words[1]) for one, words in _stats() if len(words) > 1}
    found, new = {pid}, {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def in_session(leader: int) -> set[int]:
    """Processes of the session that a process has begun (`start_new_session`), though it and their parents are gone."""
    return {pid for pid, words in _stats() if len(words) > 3 and int(words[3]) == leader}


def listening(pids: set[int]) -> set[tuple[str, int]] | None:
    """(address, port) of every TCP socket that some processes listen on; None where it cannot be told."""
    if not Path("/proc/net/tcp").exists():
        return None
    held: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):  # closed since, as the listing's own is
                    held.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    found = set()
    for name in ("tcp", "tcp6"):
        table = Path("/proc/net") / name
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            words = line.split()
            if words[3] == LISTENS and f"socket:[{words[9]}]" in held:
                address, port = words[1].split(":")
                found.add((_address(address), int(port, 16)))
    return found


def _address(text: str) -> str:
    """An address of /proc/net: words of four bytes in the machine's (little-endian) order."""
    words = bytes.fromhex(text)
    turned = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    one = ipaddress.ip_address(turned)
    return str(getattr(one, "ipv4_mapped", None) or one)


def elsewhere(found: set[tuple[str, int]]) -> list[str]:
    """Those that other machines may reach, as address:port."""
    return sorted(f"{address}:{port}" for address, port in found if not ipaddress.ip_address(address).is_loopback)


def born(pid: int) -> int | None:
    """When a process was started, in ticks since the machine was: with its number, it names it. None: it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if words[0] in "ZX" else int(words[19])
    except (OSError, ValueError, IndexError):
        return None


def ended(known: Mapping[int, int | None], patience: float) -> None:
    """Wait until processes are gone; those that are not after `patience` seconds are killed, by their numbers.

    known: when each was `born`. One that was killed is waited for, too: a large one takes a moment to go.
    """
    until = time.monotonic() + patience

    def left() -> list[int]:
        return [pid for pid, when in known.items() if when is not None and born(pid) == when]

    def wait() -> list[int]:
        while (still := left()) and time.monotonic() < until:
            time.sleep(0.05)
        return still

    for pid in wait():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + KILLED_SECONDS
    wait()
