"""Ray listens on all addresses of a machine, even when it is asked not to: a network of its own keeps it from others.

A process under `unshare -rn` (util-linux, user namespaces; no rights are needed) sees nothing but a loopback interface
of its own, so that neither other machines nor other users of this one reach what it listens on.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess

from bitspike.run.sockets import born, elsewhere, ended, family, listening

SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # of Linux


def prefix() -> list[str]:
    """Words before a command that give it a network of its own; none where the system does not allow it."""
    found = shutil.which("unshare")
    if found is None:
        return []
    words = [found, "--map-root-user", "--net", "--"]
    done = subprocess.run([*words, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return words if done.returncode == 0 else []


def loopback_up() -> None:
    """In a new network the loopback interface is there, and down."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", IFF_UP, b""))


def leave(home: str) -> None:
    """End all that this process has started, and take its files away: it is about to end in the middle of something."""
    ended({pid: born(pid) for pid in family(os.getpid()) - {os.getpid()}}, 0.0)
    shutil.rmtree(home, ignore_errors=True)


def said(alone: bool) -> str:
    """Of this process and its children: who may reach what they listen on, and what would keep others from it.

    alone: in a network of their own.
    """
    if alone:
        return "Ray listens in a network of its own, which nobody else reaches, and asks for a token"
    found = listening(family(os.getpid()))
    others = None if found is None else elsewhere(found)
    if others == []:
        return "Ray listens on this machine alone, and asks for a token"
    where = "all addresses" if others is None else f"{others[0]} and {len(others) - 1} more sockets"
    fix = "user namespaces (`unshare -rn true` works then) keep it off the network, or a firewall"
    return f"warning: Ray listens on {where}; who connects needs the token of this run; {fix}"
