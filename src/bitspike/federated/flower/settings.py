"""What Flower and Ray are told before they are imported: nothing is reported, looked up or installed."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitspike.extras import missing

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def wanted(field: str, ray: bool = False) -> None:
    """Refuse to go on where the extra is not installed; field: what asked for it."""
    for module in ("flwr", "ray")[: 1 + ray]:
        if importlib.util.find_spec(module) is None:
            missing("flower", field)


def silent() -> None:
    """Nothing of Flower's log; what matters is said by us. Its import sets the level: call this after it."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)


@contextmanager
def private_home() -> Iterator[Path]:
    """Quiet settings and a home of Flower's own, a short path in the system's temporary folder, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="bsf-"))
    before = {name: os.environ.get(name) for name in (*QUIET, "FLWR_HOME")}
    os.environ.update(QUIET, FLWR_HOME=str(folder))
    silent()
    try:
        yield folder
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)
