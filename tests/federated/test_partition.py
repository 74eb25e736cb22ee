"""Shares are disjoint, cover all examples, and depend on labels and seed alone."""

from __future__ import annotations

import pytest
import torch

import bitspike
from bitspike import load_recipe, registry
from bitspike.data import Split
from bitspike.errors import BitspikeError
from bitspike.federated.partition import Partition, share_out

LABELS = torch.arange(10).repeat_interleave(30)[torch.randperm(300, generator=torch.Generator().manual_seed(0))]
SPLIT = Split(torch.zeros(300, 1), LABELS, torch.arange(300) + 7)


def part(clients=6, **partition):
    keys = [f"federation.partition.{key}={value!r}" for key, value in partition.items()]
    return load_recipe("federated-digits", [f"federation.clients={clients}", *keys]).federation


def shares(seed=0, clients=6, **partition):
    return share_out(part(clients, **partition), SPLIT, True, seed)


KINDS = [
    {"kind": "iid"},
    {"kind": "dirichlet", "alpha": 0.5, "least": 5},
    {"kind": "dirichlet", "alpha": 1e-3, "least": 1},
    {"kind": "classes", "classes": 2},
    {"kind": "classes", "classes": 10},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_shares_are_disjoint_cover_all_and_are_named_by_the_seed(kind):
    found = shares(**kind)
    assert torch.equal(torch.cat(found).sort().values, torch.arange(300))
    assert min(map(len, found)) >= kind.get("least", 1)
    assert all(torch.equal(one, other) for one, other in zip(found, shares(**kind), strict=True))
    assert any(not torch.equal(one, other) for one, other in zip(found, shares(seed=1, **kind), strict=False))


def test_skew_is_what_was_asked_for():
    def classes(found):
        return [len(torch.unique(LABELS[rows])) for rows in found]

    assert classes(shares(kind="classes", classes=2, clients=5)) == [2] * 5
    assert {len(rows) for rows in shares(kind="iid", clients=7)} == {42, 43}
    skewed, alike = (shares(kind="dirichlet", alpha=alpha, least=1) for alpha in (0.05, 100.0))
    assert sum(classes(skewed)) < sum(classes(alike)) == 60
    # Two devices, a class each: the paper's.
    two = Split(torch.zeros(10, 1), torch.tensor([0, 1] * 5), torch.arange(10))
    found = share_out(part(2, kind="classes", classes=1), two, True, 0)
    assert [torch.unique(two.y[rows]).tolist() for rows in found] == [[0], [1]]


def test_files_of_clients_and_groups(tmp_path):
    path = tmp_path / "owners.csv"
    path.write_text("example,client,group\n" + "".join(f"{k + 7},{k % 3},g{k % 9}\n" for k in range(300)))
    found = shares(kind="file", path=str(path), clients=3)
    assert [rows.tolist() for rows in found] == [list(range(k, 300, 3)) for k in range(3)]
    grouped = shares(kind="groups", path=str(path), clients=4)
    assert torch.equal(torch.cat(grouped).sort().values, torch.arange(300))
    owners = [{int(row) % 9 for row in rows} for rows in grouped]
    assert sum(map(len, owners)) == 9
    path.write_text("example,client\n7,0\n")
    with pytest.raises(BitspikeError, match=r"nothing on example 8, wanted a line for each"):
        shares(kind="file", path=str(path))
    rows = "".join(f"{k + 7},{k % 3},g\n" for k in range(300))
    for wrong, kind, said in (
        ("9,1,g\n", "file", "line 302 example: got a second line on example 9, wanted one line for each"),
        ("307,1\n", "groups", "line 302 group: got nothing, wanted the group of example 307"),
        ("307,,g\n", "file", "line 302 client: got nothing"),
    ):
        path.write_text("example,client,group\n" + rows + wrong)
        with pytest.raises(BitspikeError, match=said):
            shares(kind=kind, path=str(path), clients=3)
    path.write_text("example,client,group\n" + rows.replace("9,2,", "9,5,", 1))
    with pytest.raises(BitspikeError, match=r"owners.csv' client: got 5, wanted 0 to 2"):
        shares(kind="file", path=str(path), clients=3)
    path.write_text("number,client\n7,0\n")
    with pytest.raises(BitspikeError, match=r"owners.csv.*wanted example and client"):
        shares(kind="file", path=str(path))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"kind": "dirichlet", "least": 51}, "least: got 51 for 6 clients, wanted no more than the 300"),
        ({"kind": "dirichlet", "alpha": 1e-3, "least": 45}, "draws had a smaller share"),
        ({"kind": "classes", "classes": 1}, "wanted what covers the 10 classes"),
        ({"kind": "iid", "clients": 301}, "clients: got 301, wanted no more than the 300"),
        ({"kind": "file", "path": "nowhere.csv"}, "nowhere.csv"),
    ],
    ids=str,
)
def test_what_cannot_be_shared_out_is_refused(kind, said):
    with pytest.raises(BitspikeError, match=said):
        shares(**kind)


def test_given_shares_are_checked():
    halves = [list(range(150)), list(range(150, 300))]
    assert [len(rows) for rows in share_out(part(2), SPLIT, True, 0, halves)] == [150, 150]
    twice, none = [halves[0], halves[0]], [[], range(300)]
    for wrong, said in ((twice, "each of the 300"), (none, "without an example"), (halves[:1], "1 shares")):
        with pytest.raises(BitspikeError, match=said):
            share_out(part(2), SPLIT, True, 0, wrong)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda n, k: [torch.arange(n)] * k, "1800 rows, wanted each of the 300 training rows once"),
        (lambda n, k: list(torch.arange(n // 2).tensor_split(k)), "150 rows, wanted each of the 300"),
        (lambda n, k: list(torch.arange(n).tensor_split(2)), "2 shares, wanted 6, one for each"),
        (lambda n, k: [torch.arange(n), *[torch.arange(0)] * (k - 1)], "client 1 without an example"),
    ],
)
def test_shares_of_a_partition_of_ones_own_are_checked_too(given, said):
    @bitspike.register("partition", "mine")
    class Mine(Partition):
        def shares(self, labels, numbers, clients, seed):
            return given(len(numbers), clients)

    with pytest.raises(BitspikeError, match=said):
        shares(kind="mine")


def test_classes_are_needed_where_shares_go_by_class():
    values = Split(torch.zeros(20, 1), torch.zeros(20, 1), torch.arange(20))
    assert len(share_out(part(2, kind="iid"), values, False, 0)) == 2
    with pytest.raises(BitspikeError, match="'dirichlet' without a class for each example"):
        share_out(part(2), values, False, 0)
    assert registry.options("partition", "dirichlet").by_class
