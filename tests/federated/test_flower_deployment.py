"""Server and clients as processes of their own, over TLS on this machine; what a stranger's request comes to."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bitspike.run.sockets import family, listening

from ..commands import commands

# Other libraries warn when Flower is imported.
pytestmark = [pytest.mark.flower, pytest.mark.filterwarnings("ignore")]
SMALL = ["federation.rounds=6", "federation.clients=3", "federation.epochs=3", "federation.codec.kind=sign",
         "encoder.steps=4", "model.layers=['32']"]  # fmt: skip
SETS = [word for entry in SMALL for word in ("--set", entry)]


def outcome(run):
    """Its result and its rounds."""
    result, rounds = (json.loads((run / name).read_text()) for name in ("result.json", "federation.json"))
    del result["seconds"]
    return result, rounds


def start(folder: Path, name: str, *words: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bitspike.cli", "federate", *map(str, words), "--threads", "1"]
    with (folder / f"{name}.txt").open("ab") as said:
        return subprocess.Popen(
            command, cwd=folder, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )


def until(true, seconds=240):
    for _ in range(seconds * 20):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it has not come to that")


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def said(folder, name):
    path = folder / f"{name}.txt"
    return path.read_text() if path.exists() else ""


@pytest.mark.long
def test_a_client_and_the_server_are_killed_and_come_again(tmp_path):
    port = free()
    serve = ["serve", "federated-digits", *SETS, "--address", f"127.0.0.1:{port}", "--out", "run"]
    running = {"server": start(tmp_path, "server", *serve)}
    try:
        until(lambda: "serving on" in said(tmp_path, "server"))
        for k in range(3):
            running[f"{k}"] = start(tmp_path, f"{k}", "join", "--bundle", "run/join", "--client", k, "--out", f"c{k}")
        until(lambda: "round 1" in said(tmp_path, "server"))
        everyone = set().union(*(family(one.pid) for one in running.values()))
        assert listening(everyone) == {("127.0.0.1", port)}
        # In the middle of a round, and once more between any two moments.
        until(lambda: "round 2" in said(tmp_path, "server"))
        running["1"].send_signal(signal.SIGKILL)
        running["1"].wait()
        running["1"] = start(tmp_path, "1", "join", "--bundle", "run/join", "--client", 1, "--out", "c1")
        until(lambda: "round 3" in said(tmp_path, "server"))
        running["server"].send_signal(signal.SIGKILL)
        running["server"].wait()
        until(lambda: "is away" in said(tmp_path, "0"))
        running["server"] = start(tmp_path, "server", *serve, "--resume")
        for name, one in running.items():
            assert one.wait(300) == 0, said(tmp_path, name)
    finally:
        for one in running.values():
            one.kill()
            one.wait()
    commands(["federate", "federated-digits", *SETS, "--threads", "1", "--out", "local"], cwd=tmp_path)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "local")
    assert (tmp_path / "run" / "join").stat().st_mode & 0o077 == 0
    assert not re.search("Traceback", "".join(said(tmp_path, name) for name in running))


def test_clients_on_this_machine(tmp_path):
    sets = [*SETS, "--set", "federation.rounds=2", "--set", "federation.epochs=1", "--threads", "1"]
    line = ["federate", "federated-digits", *sets, "--out"]
    commands([*line, "one"], [*line, "apart", "--engine", "flower"], cwd=tmp_path)
    assert outcome(tmp_path / "one") == outcome(tmp_path / "apart")


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    """A link with two clients: (its address, authority, keys, bytes of the largest request)."""
    from bitspike.federated.flower.bundle import Bundle, identity
    from bitspike.federated.flower.superlink import listener, superlink

    folder = tmp_path_factory.mktemp("link")
    own = listener("127.0.0.1", 0)
    address = f"127.0.0.1:{own.getsockname()[1]}"
    known = identity(folder, 2, ["127.0.0.1"], address, "", False)
    with superlink(own, folder, known, 4096) as (grid, joined):
        yield address, [Bundle.load(folder / "join", k) for k in range(2)], grid, joined


@contextlib.contextmanager
def connected(link, key=None, k=0):
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    address, bundles, *_ = link
    key = key or load_pem_private_key(bundles[k].key.encode(), None)
    means = [NodeAuthHttpInterceptor(key, key.public_key())]
    with FleetHttpClient.from_server_address(address, False, bundles[0].authority.encode(), means) as client:
        yield client, key


def activated(client, key):
    from flwr.proto.fleet_pb2 import ActivateNodeRequest
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes

    request = ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=30)
    return client.ActivateNode(request).node_id


def refused(call, *codes):
    import httpx

    with pytest.raises(httpx.HTTPStatusError) as error:
        call()
    assert error.value.response.status_code in codes


def test_a_stranger_is_not_served(link):
    from bitspike.federated.flower.keys import new_key

    with connected(link, new_key()) as (client, key):
        refused(lambda: activated(client, key), 400, 401, 403, 404, 409, 412)


def test_no_client_speaks_for_another(link):
    from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
    from flwr.proto.message_pb2 import Message, Metadata
    from flwr.proto.node_pb2 import Node

    with connected(link) as (first, key), connected(link, k=1) as (second, other):
        mine, theirs = activated(first, key), activated(second, other)
        assert mine != theirs
        refused(lambda: first.PullMessages(PullMessagesRequest(node=Node(node_id=theirs))), 401)
        messages = [Message(metadata=Metadata(src_node_id=theirs))]
        forged = PushMessagesRequest(node=Node(node_id=mine), messages_list=messages)
        refused(lambda: first.PushMessages(forged), 401)


def test_a_client_that_comes_anew_counts_as_such(link):
    with connected(link) as (client, key):
        node, joined = activated(client, key), link[3]
        before = joined.of(0)
        assert activated(client, key) == node == before[0]
        assert joined.of(0) == (node, before[1] + 1)


def test_requests_that_are_too_long_and_other_interfaces_are_refused(link):
    import ssl

    import httpx

    address, bundles, *_ = link
    context = ssl.create_default_context(cadata=bundles[0].authority)
    with httpx.Client(verify=context) as web:
        path = f"https://{address}/v1/fleet/push-object"
        assert web.post(path, content=b"x" * 5000).status_code == 413
        assert web.post(path, content=iter([b"x"])).status_code == 413  # no length is given
        for other in ("control/start-run", "runtime/acquire-task", "control/list-runs"):
            assert web.post(f"https://{address}/v1/{other}", content=b"").status_code == 404
    with pytest.raises(httpx.ConnectError):
        httpx.post(f"https://{address}/v1/fleet/pull-messages", content=b"")
