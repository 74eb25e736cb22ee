"""Flower's SuperLink in this process: its Fleet API alone, over TLS, on one socket, for clients whose keys are known.

Left out are the interfaces by which a stranger could have programs run (Control) and processes of apps talk (Runtime):
our apps are here and in the clients. Each request is signed by a client's key over its time; the body is kept from
others by TLS. A client that comes anew takes the place of what is left of it.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bitspike.errors import BitspikeError, refuse
from bitspike.federated.flower.bundle import Identity
from bitspike.federated.flower.settings import private_home, silent

LONGEST_START = 60.0


class Joined:
    """Clients by number, as nodes of the link's state."""

    def __init__(self, state: Any, nodes: list[int]) -> None:
        self.state, self.nodes = state, nodes

    def of(self, client: int) -> tuple[int, int] | None:
        """Its node and how often it has come; None while it is away."""
        node = self.nodes[client]
        there = self.state.get_node_info(node_ids=[node], statuses=["online"])
        return (node, self.state.comings.get(node, 0)) if there else None


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens on this address and no other."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        refuse(
            "--address", f"'{host}:{port}' ({error.strerror or error})", "an address and a free port of this machine"
        )


@contextlib.contextmanager
def superlink(own: socket.socket, folder: Path, identity: Identity, largest: int) -> Iterator[tuple[Any, Joined]]:
    """(grid, clients) while the link serves; folder: of the run; largest: bytes of a request."""
    with own, private_home():
        state, run = _state()
        nodes = [state.create_node("", f"client {k}", one.encode(), 30) for k, one in enumerate(identity.clients)]
        import uvicorn

        config = uvicorn.Config(
            _app(state, largest),
            timeout_keep_alive=75, log_config=None, access_log=False, lifespan="off", workers=1,
            ssl_certfile=folder / "keys" / "server.pem", ssl_keyfile=str(folder / "keys" / "server.key"),
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([own],), name="superlink", daemon=True)
        thread.start()
        began = time.monotonic()
        while not server.started:
            if not thread.is_alive() or time.monotonic() - began > LONGEST_START:
                raise BitspikeError("federate: Flower's SuperLink has not started")
            time.sleep(0.02)
        try:
            yield _grid(state, run), Joined(state, nodes)
        finally:
            server.should_exit = True
            thread.join(5)
            server.force_exit = True
            thread.join(5)


def _state() -> tuple[Any, Any]:
    """The link's state in memory, and its one run."""
    from flwr.proto.task_pb2 import Task, TaskStatus
    from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState, RunRecord
    from flwr.supercore.constant import NOOP_FEDERATION_ID
    from flwr.supercore.object_store import ObjectStoreFactory
    from flwr.supercore.run import Run
    from flwr.supercore.task_identity import TaskIdentity
    from flwr.superlink.federation import NoOpFederationManager

    silent()

    class State(InMemoryLinkState):  # type: ignore[misc]
        """In memory; a client may come while the link still thinks that it is there."""

        def activate_node(self, node_id: int, heartbeat_interval: float) -> bool:
            with self.lock:
                self.deactivate_node(node_id)
                self.comings[node_id] = self.comings.get(node_id, 0) + 1
                return bool(super().activate_node(node_id, heartbeat_interval))

    state: Any = State(NoOpFederationManager(), ObjectStoreFactory().store())
    state.comings = {}
    number = secrets.randbits(62) | 1
    run = Run.create_empty(run_id=number)
    run.primary_task_id, run.federation_id = number, NOOP_FEDERATION_ID
    state.run_ids[number] = RunRecord(run=run)
    running = TaskStatus(status="running", sub_status="", details="")
    state.task_store[number] = Task(task_id=number, run_id=number, status=running)
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = number, number, 1
    return state, run


def _app(state: Any, largest: int) -> Any:
    """The web application: Fleet alone, requests of at most `largest` bytes, each client in its own name."""
    from fastapi import FastAPI
    from flwr.proto.fleet_pb2 import PushMessagesRequest
    from flwr.supercore.error import http_error_translator
    from flwr.supercore.protobuf.translation import ProtobufTranslationMiddleware
    from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware
    from flwr.superlink.routers.fleet.router import router
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import JSONResponse, Response

    async def bounded(request: Any, go_on: Any) -> Any:
        if not request.url.path.startswith("/v1/fleet/"):
            return Response(status_code=404)
        length = request.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit() and int(length[:20]) <= largest):
            return Response(status_code=413)
        return await go_on(request)

    async def own_name(request: Any, go_on: Any) -> Any:
        asked = getattr(request.state, "protobuf_request", None)
        if isinstance(asked, PushMessagesRequest) and any(
            message.metadata.src_node_id != asked.node.node_id for message in asked.messages_list
        ):
            return JSONResponse({"detail": "a message in another's name"}, 401)
        return await go_on(request)

    class Factory:
        """What routes ask for their state."""

        def state(self) -> Any:
            return state

    order = [
        Middleware(BaseHTTPMiddleware, dispatch=bounded),
        Middleware(BaseHTTPMiddleware, dispatch=http_error_translator),
        Middleware(ProtobufTranslationMiddleware),
        Middleware(NodeAuthMiddleware),
        Middleware(BaseHTTPMiddleware, dispatch=own_name),
    ]
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, middleware=order)
    app.state.linkstate_factory = Factory()
    app.state.enable_supernode_auth = True
    app.state.fleet_event_log_plugin = None
    app.include_router(router)
    return app


def _grid(state: Any, run: Any) -> Any:
    """Flower's grid in memory, whose messages lie where the Fleet API looks for them."""
    from flwr.app.message import remove_content_from_message
    from flwr.common.constant import ErrorCode
    from flwr.supercore.inflatable.inflatable_object import (
        get_all_nested_objects,
        get_object_tree,
        iterate_object_tree,
        no_object_id_recompute,
    )
    from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
    from flwr.superlink.grid import InMemoryGrid

    class Factory:
        def state(self) -> Any:
            return state

    class Grid(InMemoryGrid):  # type: ignore[misc]
        """Contents as objects in the store, as the Fleet API hands them out and takes them in."""

        def __init__(self) -> None:
            super().__init__(Factory())
            self.coming: dict[str, Any] = {}

        def push_messages(self, messages: Iterable[Any]) -> list[str]:
            names = []
            for message in messages:
                with no_object_id_recompute():
                    name = message.object_id
                    message.metadata.__dict__["_message_id"] = name
                    tree, objects = get_object_tree(message), get_all_nested_objects(message)
                    session = state.start_session(run.run_id)
                    bare = remove_content_from_message(message)
                    stored, missing = state.store_message_and_object_tree(bare, tree, session)
                    for one in missing:
                        state.store_object(run.run_id, session, one, objects[one].deflate())
                names.append(name if stored else "")
            return names

        def pull_messages(self, message_ids: Iterable[str]) -> list[Any]:
            wanted = set(message_ids)
            self.coming = {name: reply for name, reply in self.coming.items() if name in wanted}
            if left := wanted - set(self.coming):
                for reply in state.get_message_res(message_ids=left, run_id=run.run_id):
                    self.coming[reply.metadata.reply_to_message_id] = reply
            found = []
            for name, reply in list(self.coming.items()):
                if (whole := self._whole(reply)) is not None:
                    del self.coming[name]
                    state.object_store.delete(name)
                    state.delete_messages(message_ins_ids={name})
                    found.append(whole)
            return found

        def _whole(self, reply: Any) -> Any:
            """The reply with its content; None as long as that is on its way."""
            if reply.has_error():
                return reply
            name, store = reply.metadata.message_id, state.object_store
            try:
                tree = store.get_object_tree(name)
                contents = {one.object_id: store.get(one.object_id) for one in iterate_object_tree(tree)}
                if not all(contents.values()):
                    return None
                found = inflate_object_from_contents(name, contents)
                found.metadata.__dict__["_message_id"] = name
            except Exception as error:  # whatever a client has put in the place of a message
                said = SimpleNamespace(code=ErrorCode.UNKNOWN, reason=f"an unreadable reply ({type(error).__name__})")
                return SimpleNamespace(metadata=reply.metadata, error=said, has_error=lambda: True)
            store.delete(name)
            return found

        def forget(self, message_ids: Iterable[str]) -> None:
            """Messages whose replies nobody waits for."""
            names = set(message_ids)
            state.delete_messages(message_ins_ids=names)
            for name in names:
                state.object_store.delete(name)

    grid = Grid()
    grid.set_run(run)
    return grid
