"""What clients carry from round to round, kept in memory or in files of the run folder.

Small states (how many turns) stand in the checkpoint. Tensors lie in `RUN/clients/K-ROUND.json` and the file beside it;
those of the round before stay until the checkpoint that names the new ones is saved, so that a round which was killed
begins anew from where it began.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitspike.errors import damaged
from bitspike.run.checkpoint import load_checkpoint, save_checkpoint

State = dict[str, Any]
SMALL = ("turns", "round")
FILE = re.compile(r"(\d+-\d+)(\.json|-[0-9a-f]{12}\.safetensors)")


class Store:
    """States by client. folder: where files lie (None: everything stays in memory); spill: nothing does."""

    def __init__(self, folder: Path | None = None, spill: bool = False) -> None:
        self.folder, self.spill = folder, spill and folder is not None
        self.small: dict[int, dict[str, int]] = {}
        self.large: dict[int, State] = {}
        self.files: dict[int, str] = {}
        self.changed: set[int] = set()

    def get(self, client: int) -> State:
        """The state of a client, to be changed and put back; {} before its first round."""
        state: State = dict(self.small.get(client, {}))
        if client in self.large:
            return state | self.large[client]
        if self.folder is not None and client in self.files:
            state |= load_checkpoint(self.folder, self.files[client])
        return state

    def put(self, client: int, state: State) -> None:
        """Keep the state of a client."""
        self.small[client] = {name: int(state[name]) for name in SMALL if name in state}
        large = {name: value for name, value in state.items() if name not in SMALL and value}
        if self.spill:
            self._write(client, large)
            return
        if large:
            self.large[client] = large
            self.changed.add(client)

    def commit(self) -> dict[str, Any]:
        """Write what has changed; returns what the checkpoint holds of it."""
        if self.folder is not None:
            for client in sorted(self.changed):
                self._write(client, self.large[client])
        self.changed.clear()
        pairs = self.small.items()
        return {"small": {str(k): [state.get(name, 0) for name in SMALL] for k, state in pairs},
                "files": {str(k): name for k, name in self.files.items()}}  # fmt: skip

    def tidy(self) -> None:
        """Once the checkpoint is saved: away with the files that it does not name."""
        if self.folder is None or not self.folder.is_dir():
            return
        named = set(self.files.values())
        for path in self.folder.iterdir():
            found = FILE.fullmatch(path.name)
            if found is not None and found[1] not in named:
                path.unlink(missing_ok=True)

    def load(self, stored: Mapping[str, Any], source: str) -> None:
        """Take up what `commit` gave."""
        with damaged(source):
            self.small = {
                int(k): dict(zip(SMALL, map(int, values), strict=True)) for k, values in stored["small"].items()
            }
            self.files = {int(k): str(name) for k, name in stored["files"].items()}
            if not all(re.fullmatch(r"\d+-\d+", name) for name in self.files.values()):
                raise ValueError("a file of a client that is not called so")
        self.large, self.changed = {}, set()
        self.tidy()
        if not self.spill and self.folder is not None:
            self.large = {client: load_checkpoint(self.folder, name) for client, name in self.files.items()}

    def _write(self, client: int, large: State) -> None:
        assert self.folder is not None
        if not large:
            return
        self.folder.mkdir(exist_ok=True)
        self.files[client] = f"{client}-{self.small[client].get('round', 0)}"
        save_checkpoint(self.folder, self.files[client], large)
