"""What a client needs to join, in one file: where the server is, who it is, who the client is, and the recipe.

It holds the client's private key: whoever has the file is that client.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bitspike.errors import BitspikeError, refuse
from bitspike.federated.flower import keys
from bitspike.paths import home, is_folder, read_text
from bitspike.run.checkpoint import read_json

FORMAT = 1
SERVER = "server.json"


@dataclass(frozen=True)
class Bundle:
    """One client's. own_data: its share is all training examples of its own data set, not a share of the recipe's."""

    format: int
    server: str
    client: int
    recipe: str
    own_data: bool
    authority: str
    key: str

    def save(self, folder: Path) -> None:
        """As FOLDER/client-K.json."""
        keys.private(folder / f"client-{self.client}.json", json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path, client: int | None) -> Bundle:
        """The file `path`, or client-K.json in that folder."""
        path = home(path, "--bundle")
        if is_folder(path, "--bundle"):
            if client is None:
                refuse("--client", "none, with --bundle a folder", "the number of this client")
            path = path / f"client-{client}.json"
        try:
            content = json.loads(read_text(path, "--bundle", "a bundle that `bitspike federate serve` has written"))
            given = {field.name: content[field.name] for field in fields(cls)}
            kinds = {"format": int, "server": str, "client": int, "recipe": str, "own_data": bool}
            if any(not isinstance(given[name], kinds.get(name, str)) for name in given) or given["format"] != FORMAT:
                raise ValueError("other kinds of values")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BitspikeError(f"--bundle: '{path}' is no bundle of a client ({error})") from None
        if client is not None and client != given["client"]:
            refuse("--client", client, f"{given['client']}, whose bundle '{path}' is")
        return cls(**given)


def address_of(text: str, field: str) -> tuple[str, int]:
    """HOST:PORT, an address of version 6 in brackets."""
    found = re.fullmatch(r"\[([0-9a-fA-F:.]+)\]:(\d+)|([^\s:\[\]/]+):(\d+)", text)
    port = int((found[2] or found[4])[:6]) if found else -1
    if found is None or not 0 <= port <= 65535:
        refuse(field, f"'{text}'", "HOST:PORT, such as 127.0.0.1:8443")
    return found[1] or found[3], port


def shown(host: str, port: int) -> str:
    """As `address_of` reads it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True)
class Identity:
    """Who a server is to its clients: certificates, and each client's public key in the order of clients."""

    authority: str
    certificate: str
    key: str
    clients: list[str]
    names: list[str]


def identity(folder: Path, clients: int, names: list[str], server: str, recipe: str, own_data: bool) -> Identity:
    """The run's identity, from its file where it goes on; else made, with a bundle per client in FOLDER/join.

    Server address and recipe in the bundles are brought up to date in any case.
    """
    path = folder / "keys" / SERVER
    if path.exists():
        found = _stored(path, clients)
        bundles = [Bundle.load(folder / "join", k) for k in range(clients)]
        if set(names) - set(found.names):
            said = ", ".join(sorted(set(names) - set(found.names)))
            refuse("--address", f"{said}, not in the certificate", f"one of {', '.join(found.names)}, as at first")
        for k, old in enumerate(bundles):
            new = Bundle(FORMAT, server, k, recipe, own_data, old.authority, old.key)
            if new != old:
                new.save(folder / "join")
        return found
    authority, certificate, key = keys.certificates(names)
    own = [keys.new_key() for _ in range(clients)]
    found = Identity(authority, certificate, key, [keys.public(one) for one in own], names)
    for k, one in enumerate(own):
        Bundle(FORMAT, server, k, recipe, own_data, authority, keys.pem(one)).save(folder / "join")
    keys.private(folder / "keys" / "server.pem", certificate)
    keys.private(folder / "keys" / "server.key", key)
    keys.private(path, json.dumps(asdict(found), indent=1) + "\n")
    return found


def _stored(path: Path, clients: int) -> Identity:
    content: Any = read_json(path)
    try:
        found = Identity(**content)
        if len(found.clients) != clients or not all(isinstance(one, str) for one in found.clients):
            raise ValueError(f"keys of {len(found.clients)} clients, not of {clients}")
    except (TypeError, ValueError) as error:
        raise BitspikeError(f"'{path}': not the keys of this federation ({error})") from None
    return found
