"""Flower's two apps around the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bitspike.federated.flower.wire import RECORD, packed, unpacked
from bitspike.federated.flower.workers import Worker


def record(**parts: bytes) -> Any:
    """The content of a message."""
    from flwr.app import ConfigRecord, RecordDict

    return RecordDict({RECORD: ConfigRecord(dict(parts))})


def client_app(make: Callable[[], Worker]) -> Any:
    """A ClientApp; make: gives the worker of its process."""
    from flwr.app import Message
    from flwr.clientapp import ClientApp

    app = ClientApp()

    def train(message: Any, context: Any) -> Any:
        given = message.content[RECORD]
        found = make().answer(unpacked(given["order"]), unpacked(given["own"]))
        return Message(record(reply=packed(found)), reply_to=message)

    app.train()(train)
    return app


def server_app(run: Callable[[Any], None]) -> Any:
    """A ServerApp; run: what is done with its grid."""
    from flwr.serverapp import ServerApp

    app = ServerApp()
    app.main()(lambda grid, context: run(grid))
    return app
