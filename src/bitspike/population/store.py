"""Where members are published: in memory, or in a folder that any number of processes read and write.

    K.json             the last turn of member K: which generation, and the SHA-256 of its checkpoint
    K-G.json           its checkpoint of generation G, and the .safetensors file that it names
    K.jsonl            every turn of member K, a line each: the event log
    K.lock             held while a process takes a turn of K

A turn is published by one rename of K.json, after its checkpoint lies there whole and its line stands in the log. The
last two generations stay, so a reader that was told of one finds it; who is slower than two turns is told anew. Lines
of turns that were never published (a kill came first) do not count: of lines of one generation the last one does.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bitspike.errors import BitspikeError, damaged
from bitspike.population.turn import State, Turn
from bitspike.run.checkpoint import load_checkpoint, read_json, save_checkpoint, write_json

FILE = re.compile(r"(\d+)-(\d+)(\.json|-[0-9a-f]{12}\.safetensors)")


class Memory:
    """Published turns of one process."""

    def __init__(self) -> None:
        self.log: dict[int, list[Turn]] = {}
        self.states: dict[tuple[int, int], State] = {}

    def latest(self, member: int) -> Turn | None:
        """The last turn of a member."""
        turns = self.log.get(member)
        return turns[-1] if turns else None

    def at(self, member: int, generation: int) -> Turn:
        """An earlier turn, one of the last two."""
        return self.log[member][generation - 1]

    def state(self, turn: Turn) -> tuple[Turn, State]:
        """What `turn` was published with."""
        return turn, self.states[turn.node]

    def publish(self, turn: Turn, state: State) -> None:
        """The next turn of a member."""
        self.log.setdefault(turn.member, []).append(turn)
        self.states[turn.node] = state
        self.states.pop((turn.member, turn.generation - 2), None)

    def turns(self) -> list[Turn]:
        """The whole log, by generation and member."""
        return sorted((turn for turns in self.log.values() for turn in turns), key=lambda t: (t.generation, t.member))

    @contextmanager
    def held(self, member: int) -> Iterator[bool]:
        """Nobody else is here."""
        yield True


class Folder:
    """Published turns in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def latest(self, member: int) -> Turn | None:
        """The last turn of a member; None before its first."""
        path = self.path / f"{member}.json"
        return Turn.read(read_json(path)["turn"], f"'{path}'") if path.exists() else None

    def at(self, member: int, generation: int) -> Turn:
        """An earlier turn, one of the last two."""
        path = self.path / f"{member}-{generation}.json"
        content = read_json(path)
        with damaged(f"'{path}'"):
            return Turn.read(content["state"]["turn"], f"'{path}'")

    def state(self, turn: Turn) -> tuple[Turn, State]:
        """What `turn` was published with; where two later ones have replaced it, the last turn and its state."""
        pointer = self.path / f"{turn.member}.json"
        while True:
            try:
                return turn, self._state(turn)
            except BitspikeError:
                content = read_json(pointer)
                now = Turn.read(content["turn"], f"'{pointer}'")
                if now.generation < turn.generation + 2:
                    raise
                turn = now

    def _state(self, turn: Turn) -> State:
        name = f"{turn.member}-{turn.generation}"
        path = self.path / f"{name}.json"
        found = load_checkpoint(self.path, name)
        with damaged(f"'{path}'"):
            if found["turn"]["generation"] != turn.generation or found["turn"]["member"] != turn.member:
                raise ValueError("a checkpoint of another turn")
            state = found["state"]
            if not isinstance(state, dict):
                raise ValueError("no state")
            return state

    def publish(self, turn: Turn, state: State) -> None:
        """Checkpoint, log, then the rename that counts; what is older than two generations goes."""
        name = f"{turn.member}-{turn.generation}"
        save_checkpoint(self.path, name, {"turn": turn.to_dict(), "state": state})
        self._log(turn)
        digest = hashlib.sha256((self.path / f"{name}.json").read_bytes()).hexdigest()
        write_json(self.path / f"{turn.member}.json", {"turn": turn.to_dict(), "sha256": digest})
        for old in self.path.glob(f"{turn.member}-*"):
            found = FILE.fullmatch(old.name)
            if found is not None and int(found[2]) < turn.generation - 1:
                old.unlink(missing_ok=True)

    def _log(self, turn: Turn) -> None:
        path = self.path / f"{turn.member}.jsonl"
        line = json.dumps(turn.line(), allow_nan=False) + "\n"
        with path.open("ab") as file:
            # A kill may have cut the last line short; it never counted.
            whole = file.tell() == 0 or path.read_bytes().endswith(b"\n")
            file.write(line.encode() if whole else b"\n" + line.encode())
            file.flush()
            os.fsync(file.fileno())

    def turns(self) -> list[Turn]:
        """The whole log of what was published, by generation and member; histories are left out."""
        found: list[Turn] = []
        for path in self.path.glob("*.jsonl"):
            if (last := self.latest(int(path.stem))) is not None:
                found += read_log(path, last.generation)
        return sorted(found, key=lambda turn: (turn.generation, turn.member))

    @contextmanager
    def held(self, member: int) -> Iterator[bool]:
        """Hold a member while a turn is taken, False where another process does. A killed process lets go."""
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield True
            return
        with (self.path / f"{member}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True


def read_log(path: Path, last: int) -> list[Turn]:
    """Turns 1 to `last` of a member's log; one that is missing is refused."""
    turns: dict[int, Turn] = {}
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            data: Any = json.loads(text)
        except ValueError:
            continue  # cut short by a kill, before it counted: were it wanted, it would be missing below
        turn = Turn.read(data, f"'{path}'")
        if turn.generation <= last:
            turns[turn.generation] = turn
    if sorted(turns) != list(range(1, last + 1)):
        raise BitspikeError(f"'{path}': {len(turns)} of {last} turns are in it")
    return [turns[generation] for generation in range(1, last + 1)]
