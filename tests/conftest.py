"""What all tests stand on."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

import pytest

from bitspike import plugins, registry


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: the collector need not look through them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _signals_are_not_ignored() -> Iterator[None]:
    """A script's background job, or nohup, ignores signals; tests send them, to children that inherit this, too."""
    wanted = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    if hasattr(signal, "SIGHUP"):
        wanted[signal.SIGHUP] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _own_things_are_forgotten() -> Iterator[None]:
    """What a test registers, or reads of own files, is unknown to the next one of its process."""
    entries = {room: dict(registry._ready(room)) for room in registry.ROOMS}
    files, folders = dict(plugins._files), dict(plugins._folders)
    named = os.environ.pop(plugins.VARIABLE, None)
    yield
    # A test may have set it by itself, in the way of `plugins.add`.
    os.environ.pop(plugins.VARIABLE, None)
    if named is not None:
        os.environ[plugins.VARIABLE] = named
    for room, known in entries.items():
        registry._entries[room] = known
    plugins._files, plugins._folders = files, folders
    plugins._state["variable"] = ""
