"""What Ray is told before it is imported: a token is asked for, nothing is reported."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitspike.errors import refuse
from bitspike.extras import missing

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_worker_niceness": "0",  # with Ray's own 15 a machine that does something else leaves next to nothing
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
MEMORY = 1 << 30  # most of Ray's object store, bytes; it takes a share of all memory otherwise
LEAST_MEMORY = 80 << 20
ADDRESS = re.compile(r"auto|(\[[0-9a-fA-F:.]+\]|[^\s:\[\]/]+):\d{1,5}")


def wanted(field: str) -> None:
    """Refuse to go on where the extra is not installed; field: what asked for it."""
    if importlib.util.find_spec("ray") is None:
        missing("ray", field)


def environment(home: Path, address: str | None) -> dict[str, str]:
    """Variables of a process that starts a cluster with a token of its own, or joins one with the token given to it."""
    found = {**os.environ, **QUIET}
    if address is not None:
        return {MODE: "token", **found}
    for name in (TOKEN, "RAY_ADDRESS"):
        found.pop(name, None)
    path = home / "token"
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return {**found, MODE: "token", TOKEN_PATH: str(path)}


def check(address: str | None, device: str, in_memory: bool) -> None:
    """Refuse what the engine cannot do, before anything is read."""
    wanted("--engine ray")
    if in_memory:
        refuse("--engine", "ray with examples in memory", "local, or a data set that every machine finds by its name")
    if device == "mps":
        refuse("--device", "mps with --engine ray", "auto, cpu or cuda")
    if address is None:
        return
    if not ADDRESS.fullmatch(address):
        refuse("--address", f"'{address}'", "HOST:PORT of a Ray cluster that this machine is part of, or auto")
    if os.environ.get(MODE, "token").lower() != "token":
        return
    given = os.environ.get(TOKEN), os.environ.get(TOKEN_PATH)
    if not any(given) and not (Path.home() / ".ray" / "auth_token").exists():
        refuse("--address", "no token", f"the cluster's, in a file that {TOKEN_PATH} names ({MODE}=disabled: none)")


def local(home: Path, cpus: int) -> dict[str, Any]:
    """What `ray.init` is told of a cluster on this machine: little memory, no dashboard, files in `home`."""
    shared = Path("/dev/shm")
    free = shutil.disk_usage(shared).free // 2 if shared.is_dir() else MEMORY
    return {
        "address": "local", "num_cpus": cpus, "include_dashboard": False, "_temp_dir": str(home / "r"),
        "object_store_memory": max(LEAST_MEMORY, min(MEMORY, free)),
    }  # fmt: skip


def begin(ray: Any, where: Mapping[str, Any]) -> None:
    """`ray.init`, quietly. A busy machine may not start a node in the half minute that Ray allows: then once more."""
    for left in (2, 1, 0):
        try:
            ray.init(**where, log_to_driver=False, logging_level=logging.CRITICAL)
            return
        except Exception as error:
            ray.shutdown()
            if not left or "timed out during startup" not in str(error):
                raise
