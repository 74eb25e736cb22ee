"""Which training examples each client has: a function of labels, or groups, and seed; disjoint, and all of them.

Dirichlet (FedSNN): of each class, client j gets a share p_j ~ Dirichlet(alpha); p_j = 0 for a client that holds its
N / clients already; the whole is drawn again until every client has `least`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.draws import generator, seed_of
from bitspike.errors import refuse
from bitspike.federated.own import kind_of, named
from bitspike.paths import MIB, home, read_text

Rows = list[Tensor]
TRIES = 1000
FILE_LIMIT = 256 * MIB


class Partition:
    """One way to share out; made of its options."""

    def shares(self, labels: Tensor | None, numbers: Tensor, clients: int, seed: int) -> Rows:
        """Ascending row numbers of each client. labels: classes (N,), None where there are none; numbers: the examples'
        own (N,)."""
        raise NotImplementedError


class Iid(Partition):
    """Equal random shares."""

    def shares(self, labels: Tensor | None, numbers: Tensor, clients: int, seed: int) -> Rows:
        """Sizes differ by one at most."""
        order = torch.randperm(len(numbers), generator=generator(seed, "federation", "iid"))
        return [rows.sort().values for rows in order.tensor_split(clients)]


def classes_of(labels: Tensor | None, kind: str) -> Tensor:
    """Labels, where there is one for each example."""
    if labels is None:
        refuse("federation.partition.kind", f"'{kind}' without a class for each example", "'iid', 'groups' or 'file'")
    return labels


class Dirichlet(Partition):
    """Skewed shares, class by class."""

    def __init__(self, alpha: float = 0.5, least: int = 10) -> None:
        self.alpha, self.least = alpha, least

    def shares(self, labels: Tensor | None, numbers: Tensor, clients: int, seed: int) -> Rows:
        """See the module."""
        labels = classes_of(labels, "dirichlet")
        if self.least * clients > len(numbers):
            came = f"{self.least} for {clients} clients"
            refuse("federation.partition.least", came, f"no more than the {len(numbers)} training examples")
        drawn = np.random.default_rng(seed_of(seed, "federation", "dirichlet"))
        for _ in range(TRIES):
            found = self._drawn(labels.numpy(), clients, drawn)
            if min(map(len, found)) >= self.least:
                return [torch.from_numpy(np.sort(rows)) for rows in found]
        came = f"{self.least} with alpha {self.alpha:g} ({TRIES} draws had a smaller share)"
        refuse("federation.partition.least", came, "fewer examples, a larger alpha, or fewer clients")

    def _drawn(self, labels: Any, clients: int, drawn: np.random.Generator) -> list[Any]:
        held: list[list[Any]] = [[] for _ in range(clients)]
        sizes = np.zeros(clients)
        for one in np.unique(labels):
            rows = drawn.permutation(np.flatnonzero(labels == one))
            p = drawn.dirichlet(np.full(clients, self.alpha)) * (sizes < len(labels) / clients)
            # A small alpha may give all to those that are full: then to the emptiest.
            p = p / p.sum() if p.sum() > 0 else np.eye(clients)[sizes.argmin()]
            cuts = (p.cumsum()[:-1] * len(rows)).astype(np.int64)
            for client, part in enumerate(np.split(rows, cuts)):
                held[client].append(part)
                sizes[client] += len(part)
        return [np.concatenate(parts) for parts in held]


class Classes(Partition):
    """A few classes for each client."""

    def __init__(self, classes: int = 2, least: int = 1) -> None:
        self.classes, self.least = classes, least

    def shares(self, labels: Tensor | None, numbers: Tensor, clients: int, seed: int) -> Rows:
        """The examples of a class are divided evenly over the clients that have it."""
        labels = classes_of(labels, "classes")
        known = torch.unique(labels)
        if self.classes > len(known) or self.classes * clients < len(known):
            came = f"{self.classes} for {clients} clients"
            refuse("federation.partition.classes", came, f"what covers the {len(known)} classes, each client some")
        held: list[list[Tensor]] = [[] for _ in range(clients)]
        for place, one in enumerate(known):
            # Client k has the classes k c .. k c + c - 1, from the first again behind the last.
            owners = [k for k in range(clients) if (place - k * self.classes) % len(known) < self.classes]
            rows = torch.nonzero(labels == one)[:, 0]
            rows = rows[torch.randperm(len(rows), generator=generator(seed, "federation", "classes", int(one)))]
            for owner, part in zip(owners, rows.tensor_split(len(owners)), strict=True):
                held[owner].append(part)
        found = [torch.cat(parts).sort().values for parts in held]
        if (smallest := min(map(len, found))) < self.least:
            refuse("federation.partition.least", f"{self.least}; a client has {smallest}", "fewer examples, or clients")
        return found


class Groups(Partition):
    """Whole groups, by a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def shares(self, labels: Tensor | None, numbers: Tensor, clients: int, seed: int) -> Rows:
        """The largest group first, each to the client with the fewest examples."""
        names = _column(self.path, "group", numbers)
        groups: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            groups.setdefault(name, []).append(row)
        if len(groups) < clients:
            refuse("federation.clients", f"{clients} for {len(groups)} groups", "no more clients than groups")
        held: list[list[int]] = [[] for _ in range(clients)]
        for name in sorted(groups, key=lambda name: (-len(groups[name]), name)):
            min(held, key=len).extend(groups[name])
        return [torch.tensor(sorted(rows)) for rows in held]


class FromFile(Partition):
    """As a file says."""

    def __init__(self, path: str) -> None:
        self.path = path

    def shares(self, labels: Tensor | None, numbers: Tensor, clients: int, seed: int) -> Rows:
        """Every training example must stand in the file, every client have one."""
        names = _column(self.path, "client", numbers)
        try:
            owners = [int(name) for name in names]
        except ValueError as error:
            refuse(f"'{self.path}' client", error, "whole numbers")
        if beyond := [owner for owner in owners if not 0 <= owner < clients]:
            refuse(f"'{Path(self.path).name}' client", beyond[0], f"0 to {clients - 1} (federation.clients)")
        return checked_shares([[r for r, owner in enumerate(owners) if owner == k] for k in range(clients)], len(names))


def checked_shares(given: Sequence[Sequence[int] | Tensor], examples: int, field: str = "federation shares") -> Rows:
    """Shares that somebody says: disjoint, all rows, and none empty."""
    try:
        shares = [torch.as_tensor(rows, dtype=torch.int64).flatten().sort().values for rows in given]
    except (TypeError, ValueError, RuntimeError) as error:
        refuse(field, str(error).partition("\n")[0], "row numbers of each client")
    if empty := [k for k, rows in enumerate(shares) if len(rows) == 0]:
        refuse(field, f"client {empty[0]} without an example", "one or more for each")
    together = torch.cat(shares).sort().values
    if not torch.equal(together, torch.arange(examples)):
        refuse(field, f"{len(together)} rows", f"each of the {examples} training rows once")
    return shares


def share_out(part: Any, split: Any, classification: bool, seed: int, given: Any = None) -> Rows:
    """The recipe's shares of a training split; given: shares in place of them."""
    from bitspike import registry

    clients, field = part.clients, "federation shares"
    if clients > len(split):
        refuse("federation.clients", clients, f"no more than the {len(split)} training examples")
    if given is None:
        labels = split.y if classification and split.y.ndim == 1 else None
        given = registry.make(part.partition).shares(labels, split.index, clients, seed)
        field = named("partition", part.partition)
        if not isinstance(given, Sequence | Tensor | np.ndarray):
            refuse(field, f"{kind_of(given)} from `shares`", f"a list of {clients} tensors of row numbers")
    if len(given) != clients:
        refuse(field, f"{len(given)} shares", f"{clients}, one for each of federation.clients")
    # Those of a partition of one's own too: a row that two clients have, or none, would tell in nothing but numbers.
    return checked_shares(given, len(split), field)


def _column(path: str, name: str, numbers: Tensor) -> list[str]:
    """The entry of every training example in the order of `numbers`."""
    text = read_text(home(path, "federation.partition.path"), "federation.partition.path", "a CSV file", FILE_LIMIT)
    reader = csv.DictReader(io.StringIO(text))
    if not {"example", name} <= set(reader.fieldnames or ()):
        refuse(f"'{Path(path).name}'", f"columns {reader.fieldnames}", f"example and {name}")
    known: dict[int, str] = {}
    file = f"'{Path(path).name}'"
    try:
        for row in reader:
            number, entry = int(row["example"]), row[name]
            if entry is None or not entry.strip():
                refuse(f"{file} line {reader.line_num} {name}", "nothing", f"the {name} of example {number}")
            if number in known:
                came = f"a second line on example {number}"
                refuse(f"{file} line {reader.line_num} example", came, "one line for each")
            known[number] = entry.strip()
    except (ValueError, TypeError, csv.Error) as error:
        refuse(f"{file} example", error, "whole numbers")
    if missing := [number for number in numbers.tolist() if number not in known]:
        refuse(f"'{Path(path).name}'", f"nothing on example {missing[0]}", "a line for each training example")
    return [known[number] for number in numbers.tolist()]
