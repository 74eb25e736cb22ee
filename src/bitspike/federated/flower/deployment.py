"""A federation between machines, from the server's side: its link, what it writes for clients, and its end."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bitspike.errors import BitspikeError, refuse
from bitspike.federated.flower.apps import server_app
from bitspike.federated.flower.bundle import address_of, identity, shown
from bitspike.federated.flower.engine import Flower
from bitspike.federated.flower.superlink import listener, superlink
from bitspike.federated.server import Server
from bitspike.run.recipe_files import print_recipe
from bitspike.run.sockets import listening

MOST_HERE = 32  # clients that are processes of this machine
GOODBYE = 10.0  # seconds for clients to hear that all is done


@dataclass(frozen=True)
class Deployment:
    """How a server is reached. names: other hosts in its certificate, the first being what clients connect to;
    wait: seconds a round waits for replies; own_data: clients bring all their examples, no share of the recipe's;
    here: clients are started on this machine."""

    address: str = "127.0.0.1:0"
    names: tuple[str, ...] = ()
    wait: float = 600.0
    own_data: bool = False
    here: bool = True


def deployed(
    server: Server, folder: Path, how: Deployment, data: Path | None, note: Callable[[str], None]
) -> contextlib.AbstractContextManager[Flower]:
    """The engine, while the link serves; the address is taken at once. data: of clients that are started here."""
    host, port = address_of(how.address, "--address")
    open_to_all = host not in ("localhost",) and _is(host, "is_unspecified")
    if open_to_all and not how.names:
        refuse("--name", f"none, with --address '{how.address}'", "the name or address by which clients reach it")
    clients = server.part.clients
    if how.here and clients > MOST_HERE:
        wanted = f"at most {MOST_HERE}, a process each; `bitspike federate serve` leaves them to others"
        refuse("federation.clients", f"{clients} with --engine flower", wanted)
    own = listener(host, port)
    names = [*how.names, *([] if open_to_all else [host])]
    names += ["localhost", "127.0.0.1"] if host in ("localhost", "127.0.0.1", "::1") or open_to_all else []
    server_name = shown(names[0], own.getsockname()[1])
    return _running(server, folder, how, data, note, own, list(dict.fromkeys(names)), server_name)


def _is(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False


@contextlib.contextmanager
def _running(
    server: Server, folder: Path, how: Deployment, data: Path | None, note: Callable[[str], None], own: Any,
    names: list[str], name: str,
) -> Iterator[Flower]:  # fmt: skip
    keys = identity(folder, server.part.clients, names, name, print_recipe(server.recipe), how.own_data)
    with superlink(own, folder, keys, _largest(server)) as (grid, nodes), contextlib.ExitStack() as ends:
        _said(own, folder, name, server.part.clients, how, note)
        engine = Flower(server, grid, nodes, None, how.wait, how.own_data)
        if how.here:
            engine.check = partial(_alive, ends.enter_context(_here(folder, server.part.clients, data)))
        yield engine
        # The app is Flower's; what it does is ours.
        server_app(lambda grid: engine.end(GOODBYE))(grid, _context(grid))


def _context(grid: Any) -> Any:
    from flwr.app import Context, RecordDict

    return Context(grid.run.run_id, 1, {}, RecordDict(), {})


def _largest(server: Server) -> int:
    """Bytes that a request may have: twice the largest reply, and a frame."""
    form: Any = server.codec.form(server.roles)
    parts = (part for role in form.values() for name in role.values() for part in name.values())
    reply = sum(max(d.itemsize for d in dtypes) * math.prod(shape) for dtypes, shape in parts)
    sums = sum(t.numel() * t.element_size() for t in server.roles.get("statistic", {}).values())
    fixed = sum(t.numel() * t.element_size() for t in server.session.model.state_dict().values())
    return int(2 * (reply + sums + fixed) + (4 << 20))


def _said(own: Any, folder: Path, name: str, clients: int, how: Deployment, note: Callable[[str], None]) -> None:
    """Where the server is, what clients do, and what listens that was not asked for."""
    if not how.here:
        which = f"client-0.json to client-{clients - 1}.json"
        note(f"serving on {name}; give each client its file of '{folder / 'join'}' ({which}), which holds its key: "
             f"bitspike federate join --bundle client-K.json --data DIR")  # fmt: skip
    asked = own.getsockname()[:2]
    found = listening({os.getpid()})
    others = sorted(f"{host}:{port}" for host, port in found or () if (host, port) != tuple(asked))
    if others:
        note(f"warning: this process listens on {', '.join(others)} besides; a firewall keeps others from it")


@contextlib.contextmanager
def _here(folder: Path, clients: int, data: Path | None) -> Iterator[list[subprocess.Popen[bytes]]]:
    """One process for each client, ended by its number."""
    import torch

    started: list[subprocess.Popen[bytes]] = []
    try:
        for k in range(clients):
            out = folder / "clients" / str(k)
            out.mkdir(parents=True, exist_ok=True)
            words = [sys.executable, "-m", "bitspike.cli", "federate", "join", "--bundle", str(folder / "join")]
            words += ["--client", str(k), "--out", str(out), "--threads", str(torch.get_num_threads())]
            words += [] if data is None else ["--data", str(data)]
            with (out / "said.txt").open("wb") as said:
                # A group of its own: Ctrl-C is for the server, which ends them.
                started.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                                start_new_session=True))  # fmt: skip
        yield started
        for one in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(GOODBYE)
    finally:
        for one in started:
            if one.poll() is None:
                one.kill()
            one.wait()


def _alive(started: list[subprocess.Popen[bytes]]) -> None:
    """Refuse to wait for a client that has given up."""
    for k, one in enumerate(started):
        if one.poll() not in (None, 0):
            raise BitspikeError(
                f"--engine flower: client {k} has ended by itself; its file said.txt in clients/{k}/ says why"
            )
