"""Several processes on this machine: started by the first one, which they outlive by no more than a moment.

The first process runs the same command once more for each other rank, joined by a `torch.distributed` group whose store
listens on a free port that the system chooses. Each of the others holds a pipe from the first: it reads the end of it
when that process is gone, however it went, and ends. The first one waits on each of the others: when one ends before
its time, it says so in one line and ends too. So nobody waits for a process that is no more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import Any

from bitspike.errors import BitspikeError, refuse

# Set for the processes that the first one starts: "RANK WORLD PORT PIPE".
MEMBER = "BITSPIKE_PROCESS"
MOST = 64
# Set by other launchers and read by Lightning, for which each process of ours must look like the only one at first.
LAUNCHERS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
# What the first process gives another one that refused something to be refused the same itself.
GRACE_SECONDS = 3.0
WAIT = timedelta(seconds=300)


def environment() -> Any:
    """What Lightning Fabric is told of the processes: they are started, and joined, by `Group`."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    class Started(LightningEnvironment):
        @property
        def creates_processes_externally(self) -> bool:
            return True

        def local_rank(self) -> int:
            return rank()

        def node_rank(self) -> int:
            return 0

    return [Started()]


def rank() -> int:
    """This process's number among those of one training; 0 is the first, or the only one."""
    return int(os.environ[MEMBER].split()[0]) if MEMBER in os.environ else 0


def check_launchers() -> None:
    """Refuse variables of other launchers that hold no number: libraries read them as one."""
    for name in LAUNCHERS:
        value = os.environ.get(name, "0")
        if not value.strip().isdecimal():
            refuse(f"environment variable {name}", repr(value), "a whole number, or the variable unset")


class Group:
    """The processes of one training, of which this is one.

    said: what stands behind a line about one that ended. over: training has ended, well or not, and nobody waits for
    anybody.
    """

    def __init__(self, world: int) -> None:
        self.world, self.rank = world, rank()
        self.said = ""
        self.others: list[subprocess.Popen[bytes]] = []
        self.tails: list[bytes] = [b""] * world
        self.over = False
        self.watchers: list[threading.Thread] = []

    def begin(self, device: str) -> None:
        """Start the others, or join the first."""
        import torch.distributed
        from torch._C._distributed_c10d import TCPStore

        world = self.world
        if self.rank:
            _, started, port, pipe = os.environ[MEMBER].split()
            if int(started) != world:
                refuse("--processes", world, f"{started}, as in the first process")
            threading.Thread(target=_end_with, args=(int(pipe),), daemon=True).start()
            store = TCPStore("127.0.0.1", int(port), world, False, timeout=WAIT)
        else:
            store = TCPStore("127.0.0.1", 0, world, True, wait_for_workers=False, timeout=WAIT)
            self._start(store.port)
        backend = "nccl" if device == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, store=store, rank=self.rank, world_size=world)

    def _start(self, port: int) -> None:
        """Run this command again for each other rank, in sessions of their own: Ctrl-C is for the first to handle."""
        theirs, self.alive = os.pipe()
        command = _command()
        for number in range(1, self.world):
            environment = {**os.environ, MEMBER: f"{number} {self.world} {port} {theirs}"}
            process = subprocess.Popen(
                command, env=environment, pass_fds=(theirs,), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            self.others.append(process)
            watcher = threading.Thread(target=self._watch, args=(number, process), daemon=True)
            self.watchers.append(watcher)
        os.close(theirs)
        for watcher in self.watchers:
            watcher.start()

    def _watch(self, number: int, process: subprocess.Popen[bytes]) -> None:
        """Wait for a process; when it ends before its time, say so and end: the others would wait for it in vain."""
        assert process.stderr is not None
        for line in process.stderr:
            self.tails[number] = (self.tails[number] + line)[-100_000:]
        code = process.wait()
        if code == 0 or self.over:
            return
        if code == 2 or code > 128:
            # It was refused something, or stopped: so is this process, most likely, and says so itself.
            deadline = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < deadline and not self.over:
                time.sleep(0.02)
        if self.over:
            return
        text = self.tails[number].decode(errors="replace")
        if code == 1 and "Traceback" in text:
            sys.stderr.write(text)
        lines = text.splitlines()
        why = f"signal {signal.Signals(-code).name}" if code < 0 else lines[-1] if lines else f"exit code {code}"
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[2K\x1b[?25h")  # a progress bar's line, and the cursor that it hid
        sys.stderr.write(f"bitspike: process {number} of {self.world} ended ({why}){self.said}\n")
        sys.stderr.flush()
        for other in self.others:
            if other.poll() is None:
                other.kill()
        os._exit(2)

    def lost(self) -> None:
        """An exchange failed: if that is because a process is gone, its watcher ends this one, and says so."""
        if self.rank:
            # If the first process is gone, the end of its pipe ends this one in the meantime.
            time.sleep(GRACE_SECONDS)
            return
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and all(process.poll() is None for process in self.others):
            time.sleep(0.02)
        if any(process.poll() for process in self.others):
            time.sleep(10 * GRACE_SECONDS)  # its watcher ends this process before


def join(world: int, device: str) -> Group:
    """The group of `world` processes, started on first use; trainings that follow in this process use it again."""
    global _group
    if world > MOST:
        refuse("--processes", world, f"at most {MOST}")
    if _group is None:
        # Known before it begins: whoever is stopped in the middle of that has to `leave` as well.
        _group = Group(world)
        try:
            _group.begin(device)
        except BitspikeError:
            _group = None
            raise
    elif _group.world != world:
        refuse("--processes", world, f"{_group.world}, which this process has started already")
    _group.over = False
    return _group


_group: Group | None = None


def leave(code: int) -> None:
    """End this process at once if it is one of several: the end of Python would wait for exchanges that never end."""
    if _group is not None:
        for other in _group.others if code else ():
            other.kill()
        os._exit(code)


def _end_with(pipe: int) -> None:
    """Wait until the first process is gone, then end this one: nothing that only it holds is worth keeping."""
    while os.read(pipe, 1):
        pass
    os._exit(1)


def _command() -> list[str]:
    """What runs this program again."""
    import __main__

    spec: Any = getattr(__main__, "__spec__", None)
    if spec is not None:
        return [sys.executable, "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]]
    if not getattr(__main__, "__file__", None):
        raise BitspikeError("--processes: a session without a script cannot start others; use one process or a script")
    return [sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]
