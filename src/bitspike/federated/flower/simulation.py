"""Flower's simulation: clients in processes of Ray on this machine, and the server's rounds in this one.

Flower runs the ServerApp in a thread; its grid is handed to the thread that called, where signals arrive. Whether it
went well is told by what our server has done, never by how Flower ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bitspike.errors import BitspikeError, one_line
from bitspike.federated.flower.apps import client_app, server_app
from bitspike.federated.flower.engine import Flower
from bitspike.federated.flower.settings import private_home, silent
from bitspike.federated.flower.workers import Job, Worker, worker_of
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.run.recipe_files import print_recipe
from bitspike.run.sockets import elsewhere, family, listening

MEMORY = 1 << 30  # most of Ray's object store, bytes; it takes a share of all memory otherwise
LONGEST_START = 300.0  # seconds until clients must be there


class Virtual:
    """Virtual nodes: any can be any client, since states travel."""

    def __init__(self, nodes: list[int]) -> None:
        self.nodes = nodes

    def of(self, client: int) -> tuple[int, int]:
        """Node `client` in the order of their numbers."""
        return self.nodes[client], 1


@contextlib.contextmanager
def simulation(
    server: Server,
    store: Store,
    data: Path | None,
    device: str,
    note: Callable[[str], None],
    make: Callable[[Job], Worker] = worker_of,
    processes: int | None = None,
) -> Iterator[Flower]:
    """The engine, while Flower and Ray run.

    note: told what a person should know. make: gives a process its worker. processes: of clients at a time (None: as
    many as there are cores for their threads).
    """
    recipe, threads = server.recipe, torch.get_num_threads()
    job = Job(print_recipe(recipe), None if data is None else str(data.absolute()), device, threads)
    grids: queue.Queue[Any] = queue.Queue()
    done = threading.Event()

    def hand_over(grid: Any) -> None:
        grids.put(grid)
        done.wait()

    with private_home() as home:
        app = client_app(partial(make, job))
        given = (server_app(hand_over), app, recipe.federation.clients, _resources(home, threads, device, processes))
        thread = threading.Thread(target=_run, args=(grids, *given), name="flower-simulation", daemon=True)
        before = family(os.getpid())
        thread.start()
        try:
            grid = _arrived(grids, thread, recipe.federation.clients)
            engine = Flower(server, grid, Virtual(sorted(grid.get_node_ids())), store, wait=None)
            said: list[str] = []

            def check() -> None:
                _alive(grids, thread)
                if not said and (warning := _warning(before)):
                    said.append(warning)
                    note(warning)

            engine.check = check
            yield engine
            _whole(engine)
        finally:
            done.set()
            thread.join(60)
            _ended(before)


def _resources(home: Path, threads: int, device: str, processes: int | None) -> dict[str, Any]:
    """What Ray is told: processes of `threads` cores, files in Flower's home, little memory."""
    cores = os.cpu_count() or 1
    shared = Path("/dev/shm")
    free = shutil.disk_usage(shared).free // 2 if shared.is_dir() else MEMORY
    start = {"_temp_dir": str(home / "r"), "include_dashboard": False, "log_to_driver": False}
    start["num_cpus"] = cores if processes is None else min(threads, cores) * processes
    start["logging_level"] = logging.CRITICAL
    start["object_store_memory"] = max(80 << 20, min(MEMORY, free))
    on_gpu = 0.0 if device == "cpu" or not torch.cuda.is_available() else 1.0
    return {"init_args": start, "client_resources": {"num_cpus": min(threads, cores), "num_gpus": on_gpu}}


def _run(grids: queue.Queue[Any], server: Any, client: Any, clients: int, resources: dict[str, Any]) -> None:
    """Flower's simulation, to its end; what it raises is put in the place of a grid."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from flwr.simulation import run_simulation

            silent()
            run_simulation(server, client, clients, backend_config=resources)
    except BaseException as error:
        grids.put(error)


def _arrived(grids: queue.Queue[Any], thread: threading.Thread, clients: int) -> Any:
    """The grid, once all nodes are there."""
    began = time.monotonic()
    grid = None
    while time.monotonic() - began < LONGEST_START:
        with contextlib.suppress(queue.Empty):
            came = grids.get(timeout=0.1)
            grid = _grid(came)
        if grid is not None and len(list(grid.get_node_ids())) >= clients:
            return grid
        if not thread.is_alive() and grids.empty():
            break
    raise BitspikeError("--engine flower-simulation: Flower's simulation has not started")


def _grid(came: Any) -> Any:
    if isinstance(came, BaseException):
        raise BitspikeError(f"--engine flower-simulation: {one_line(str(came)) or type(came).__name__}") from came
    return came


def _alive(grids: queue.Queue[Any], thread: threading.Thread) -> None:
    """Refuse to wait for a simulation that has ended."""
    with contextlib.suppress(queue.Empty):
        _grid(grids.get_nowait())
    if not thread.is_alive():
        raise BitspikeError("--engine flower-simulation: Flower's simulation has ended before the federation")


def _whole(engine: Flower) -> None:
    if not engine.server.finished:
        raise BitspikeError("--engine flower-simulation: ended before the last round")


def _warning(before: set[int]) -> str | None:
    """What Ray listens on beyond this machine, and what keeps it from that; None as long as it has not started."""
    begun = getattr(sys.modules.get("ray"), "is_initialized", None)  # it may be in the middle of its import
    if begun is None or not begun():
        return None
    found = listening((family(os.getpid()) - before) | {os.getpid()})
    if found is None:
        return "warning: Ray listens on all addresses of this machine, without a password; run it behind a firewall"
    elif others := elsewhere(found):
        said = f"{', '.join(others[:3])}{f' and {len(others) - 3} more' if len(others) > 3 else ''}"
        fix = "in a namespace of its own (`unshare -rn sh -c 'ip link set lo up; bitspike ...'`) it cannot be reached"
        return f"warning: Ray listens on {said}, without a password; {fix}, nor behind a firewall"
    return "Ray listens on this machine alone"


def _ended(before: set[int]) -> None:
    """End, by their numbers, the processes that were started here and are still there."""
    for sign, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0)):
        left = family(os.getpid()) - before
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, sign)
        until = time.monotonic() + seconds
        while left and time.monotonic() < until:
            left &= family(os.getpid())
            time.sleep(0.05)
        if not left:
            return
