"""`bitspike federate join`: a client's data, its states, and its connection."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from bitspike.errors import BitspikeError, refuse
from bitspike.federated.client import Client
from bitspike.federated.flower.bundle import Bundle, address_of
from bitspike.federated.flower.settings import wanted
from bitspike.federated.flower.supernode import SuperNode
from bitspike.federated.flower.workers import Diary, Worker
from bitspike.federated.partition import share_out
from bitspike.paths import home, is_folder, kind_of
from bitspike.run.assemble import load_data
from bitspike.run.recipe_files import parse_recipe
from bitspike.run.start import place_on


def join(
    bundle: Path,
    client: int | None = None,
    server: str | None = None,
    data: Path | None = None,
    out: Path | None = None,
    device: str = "cpu",
    wait: float = 600.0,
    note: Callable[[str], None] = lambda text: None,
) -> None:
    """Take part in a federation until its server says that it is done.

    bundle: the client's file, or the folder of all with `client` its number. server: HOST:PORT in place of the
    bundle's. data: folder of the data set. out: folder of what this client carries from round to round (default
    runs/NAME-client-K). wait: seconds without the server until it gives up.
    """
    wanted("federate join")
    own = Bundle.load(bundle, client)
    address_of(own.server if server is None else server, "--server")
    if data is not None and not is_folder(home(data, "--data"), "--data"):
        refuse("--data", f"'{data}'", "an existing folder")
    recipe = parse_recipe(own.recipe, "--bundle: its recipe")
    if recipe.federation is None or not 0 <= own.client < recipe.federation.clients:
        raise BitspikeError(f"--bundle: '{bundle}' is of no client of its recipe")
    folder = home(out, "--out") if out is not None else Path("runs") / f"{recipe.name}-client-{own.client}"
    if kind_of(folder, "--out") is not None and not is_folder(folder, "--out"):
        refuse("--out", f"'{folder}', a file", "a folder")
    dataset = load_data(recipe, data)
    part = recipe.federation
    if own.own_data:
        import torch

        shares = [torch.arange(len(dataset.train))] * part.clients
    else:
        shares = share_out(part, dataset.train, dataset.kind == "classification", recipe.seed)
    which = hashlib.sha256(own.authority.encode()).hexdigest()[:16]
    diary = Diary(folder / which, own.client, part.checkpoint_every)
    worker = Worker(Client(recipe, dataset, shares, place_on(device)), diary)
    SuperNode(own, own.server if server is None else server, worker, wait, note).run()
