"""The other end: a client that is connected to a server, does what it is asked, and comes back when either was away.

It speaks Flower's Fleet protocol and runs our ClientApp here, in this process: no program comes from the server, and
nothing listens. That it is alive is said by a thread while it learns.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from bitspike.errors import BitspikeError
from bitspike.federated.flower.apps import client_app
from bitspike.federated.flower.bundle import Bundle
from bitspike.federated.flower.settings import private_home, silent
from bitspike.federated.flower.workers import END, Worker

ALIVE, INTERVAL = 10.0, 30.0  # seconds between two signs of life; after twice the second, the server thinks it away
POLL, AGAIN = 0.3, 1.0  # seconds between two questions for work, and two attempts to connect


class Ended(Exception):
    """The server has said that all is done."""


class SuperNode:
    """One client's connection. wait: seconds without the server until it gives up; note: told what happens."""

    def __init__(self, bundle: Bundle, server: str, worker: Worker, wait: float, note: Callable[[str], None]) -> None:
        self.bundle, self.server, self.wait, self.note = bundle, server, wait, note
        self.worker = worker
        self.done = threading.Event()

    def run(self) -> None:
        """Until the server says that all is done."""
        with private_home():  # before anything of Flower is imported
            self.app = client_app(lambda: self.worker)
            self._run()

    def _run(self) -> None:
        import httpx
        from flwr.supercore.inflatable.inflatable_utils import ObjectPushError

        silent()
        last, away = time.monotonic(), False
        while True:
            try:
                with self._connected() as (client, node):
                    self.note(f"client {self.bundle.client}: joined {self.server}")
                    away = False
                    while True:
                        self._turn(client, node)
                        last = time.monotonic()
            except Ended:
                return
            except httpx.HTTPStatusError as error:
                # A server that has started anew knows other nodes, for the same keys.
                why = f"it answered {error.response.status_code}"
            except (httpx.HTTPError, ObjectPushError) as error:
                why = str(error) or type(error).__name__
                if "CERTIFICATE_VERIFY" in why:
                    raise BitspikeError(f"join: '{self.server}' is not the server of this bundle ({why})") from None
            if not away:
                self.note(f"client {self.bundle.client}: {self.server} is away ({why}); trying again")
                away = True
            if time.monotonic() - last > self.wait:
                raise BitspikeError(f"join: '{self.server}' was away for {self.wait:g} seconds ({why})")
            time.sleep(AGAIN)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[tuple[Any, Any]]:
        """(connection, this client's node), with signs of life in a thread."""
        import httpx
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest
        from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
        from flwr.proto.node_pb2 import Node
        from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
        from flwr.supercore.primitives.asymmetric import public_key_to_bytes
        from flwr.supercore.task_identity import TaskIdentity
        from flwr.supernode.fleet_http_client import FleetHttpClient
        from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

        silent()
        try:
            key: Any = load_pem_private_key(self.bundle.key.encode(), None)
        except (ValueError, TypeError) as error:
            raise BitspikeError(f"--bundle: the key in it cannot be read ({error})") from None
        own = public_key_to_bytes(key.public_key())
        means = [
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ]
        try:
            opened = FleetHttpClient.from_server_address(self.server, False, self.bundle.authority.encode(), means)
        except (OSError, ValueError) as error:
            raise BitspikeError(f"--bundle: the certificate in it cannot be read ({error})") from None
        with opened as client:
            try:
                request = ActivateNodeRequest(public_key=own, heartbeat_interval=INTERVAL)
                node = Node(node_id=client.ActivateNode(request).node_id)
            except httpx.HTTPStatusError as error:
                if error.response.status_code < 500:
                    said = f"'{self.server}' does not know the key in it ({error.response.status_code})"
                    raise BitspikeError(f"--bundle: {said}") from None
                raise
            TaskIdentity.task_id, TaskIdentity.node_id = 1, node.node_id
            over = threading.Event()

            def live() -> None:
                while not over.wait(ALIVE):
                    with contextlib.suppress(httpx.HTTPError, RuntimeError):
                        client.SendNodeHeartbeat(SendNodeHeartbeatRequest(node=node, heartbeat_interval=INTERVAL))

            thread = threading.Thread(target=live, name="alive", daemon=True)
            thread.start()
            try:
                yield client, node
            finally:
                over.set()
                with contextlib.suppress(httpx.HTTPError, RuntimeError):
                    client.DeactivateNode(DeactivateNodeRequest(node_id=node.node_id))
                thread.join(ALIVE)

    def _turn(self, client: Any, node: Any) -> None:
        """Ask for work; do it, if there is some, and reply."""
        from flwr.proto.fleet_pb2 import PullMessagesRequest

        asked = client.PullMessages(PullMessagesRequest(node=node))
        if not asked.messages_list:
            time.sleep(POLL)
            return
        message = self._pulled(client, node, asked.messages_list[0], asked.message_object_trees[0])
        if message is None:
            return
        self._push(client, node, self._reply(message, node))

    def _reply(self, message: Any, node: Any) -> Any:
        """What our app answers; what it raises is told to the server by name."""
        from flwr.app import Context, Error, Message, RecordDict
        from flwr.common.constant import ErrorCode
        from flwr.supercore.task_identity import TaskIdentity

        from bitspike.federated.flower.apps import record
        from bitspike.federated.flower.wire import RECORD, packed, unpacked

        TaskIdentity.run_id = message.metadata.run_id
        try:
            if unpacked(message.content[RECORD]["own"]).get("what") == END:
                self.done.set()
                return Message(record(reply=packed({})), reply_to=message)
            context = Context(message.metadata.run_id, node.node_id, {}, RecordDict(), {})
            return self.app(message, context)
        except Exception as error:
            inner = error.__cause__ or error
            self.note(f"client {self.bundle.client}: {inner}")
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(inner)[:200]), reply_to=message)

    @staticmethod
    def _pulled(client: Any, node: Any, proto: Any, tree: Any) -> Any:
        """The message with its content; None if it was taken back (it is sent anew to a client that comes anew). It is
        not confirmed: the server keeps it until the reply is there."""
        from flwr.app import Message
        from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
        from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, pull_and_inflate_object_from_tree

        pull = make_pull_object_fn_protobuf(client.PullObject, node, proto.metadata.run_id)
        try:
            message = pull_and_inflate_object_from_tree(tree, pull, lambda name: None, return_type=Message)
        except ObjectPullError:
            return None
        message.metadata.__dict__["_message_id"] = proto.metadata.message_id
        return message

    def _push(self, client: Any, node: Any, reply: Any) -> None:
        """Send the reply and what it is made of."""
        from flwr.app.message import remove_content_from_message
        from flwr.common.serde import message_to_proto
        from flwr.proto.fleet_pb2 import PushMessagesRequest
        from flwr.supercore.inflatable.inflatable_object import (
            get_all_nested_objects,
            get_object_tree,
            no_object_id_recompute,
        )
        from flwr.supercore.inflatable.inflatable_protobuf_utils import make_push_object_fn_protobuf
        from flwr.supercore.inflatable.inflatable_utils import push_objects

        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            bare = message_to_proto(remove_content_from_message(reply) if reply.has_content() else reply)
            trees = [get_object_tree(reply)]
            request = PushMessagesRequest(node=node, messages_list=[bare], message_object_trees=trees)
            answer = client.PushMessages(request)
            run = reply.metadata.run_id
            push = make_push_object_fn_protobuf(client.PushObject, node, run, answer.session_id)
            push_objects(get_all_nested_objects(reply), push, object_ids_to_push=set(answer.objects_to_push))
        if self.done.is_set():
            raise Ended
