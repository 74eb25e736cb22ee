"""The run folder: where everything a run leaves behind is written and read."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from bitspike import plugins, registry
from bitspike.errors import BitspikeError
from bitspike.paths import finished_run, kind_of, read_text, run_folder
from bitspike.run.checkpoint import read_json, write_atomic, write_json
from bitspike.run.recipe import Recipe
from bitspike.run.recipe_files import parse_recipe, print_recipe
from bitspike.version import __version__

# What a run that saved no checkpoint leaves, and what is in its `checkpoints`.
BEGUN = {"recipe.toml", "checkpoints", "environment.json", "split.npz", "metrics.jsonl", "tensorboard", "population",
         "federation.json", "shares.npz", "clients", "join"}  # fmt: skip
UNNAMED = re.compile(r".*-[0-9a-f]{12}\.safetensors|\..*\.part")


class RunFolder:
    """A run folder at `path`; see ARCHITECTURE.md for what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: IO[str] | None = None

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def finished(self) -> bool:
        """True once result.json is there."""
        return (self.path / "result.json").exists()

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """The run at `path`, or one line saying that there is none."""
        run_folder(path)
        return cls(path)

    def result(self) -> dict[str, Any]:
        """result.json of a finished run, with its parts."""
        finished_run(self.path)
        result = self.read("result.json")
        for part in ("test", "bits", "energy"):
            if not isinstance(result, dict) or not isinstance(result.get(part), dict):
                raise BitspikeError(f"'{self.path / 'result.json'}': no '{part}' in it")
        return dict(result)

    @property
    def started(self) -> bool:
        """True when there is something to lose: a checkpoint or a result of a recipe."""
        has_recipe = (self.path / "recipe.toml").exists()
        saved = (*self.checkpoints.glob("*.json"), *(self.path / "population").glob("*.json"))
        return has_recipe and (self.finished or bool(saved))

    def check(self, recipe: Recipe, resume: bool, overwrite: bool) -> None:
        """Refuse a folder that holds another run, or something that is no run; changes nothing."""
        kind_of(self.path, "--out")
        if overwrite and self.started and Path.cwd().is_relative_to(self.path.absolute().resolve()):
            raise BitspikeError(f"--overwrite: '{self.path}' holds the folder this command runs in; run it elsewhere")
        if self.started and resume:
            stored = self.recipe()
            if stored != recipe:
                difference = _first_difference(stored.resolved(), recipe.resolved())
                raise BitspikeError(
                    f"--resume: '{self.path}' holds a run of another recipe ({difference}); "
                    "--out DIR writes elsewhere, --overwrite replaces it"
                )
        elif self.started and not overwrite:
            raise BitspikeError(
                f"run: '{self.path}' already holds a run; --resume goes on with it, --overwrite replaces it, "
                "--out DIR writes elsewhere"
            )
        elif self.path.exists() and not self.started and not _only_leftovers(self.path):
            raise BitspikeError(f"--out: '{self.path}' exists and is not a run folder; nothing was changed")

    def create(self, recipe: Recipe, resume: bool, overwrite: bool) -> None:
        """Prepare the folder for `recipe`: fresh, to be resumed (same recipe only), or emptied first."""
        self.check(recipe, resume, overwrite)
        taken = (self.path / "recipe.toml").exists()
        try:
            if taken:
                self.lock()
            if taken and not (self.started and resume):
                self.unlock()
                # Out of the way in one step: a kill while deleting leaves no half run under this name. A link stays.
                whole = self.path.resolve()
                old = whole.with_name(f".{whole.name}.{os.getpid()}.old")
                whole.rename(old)
                whole.mkdir()
                shutil.rmtree(old)
            self.path.mkdir(parents=True, exist_ok=True)
            for leftover in self.path.glob("**/.*.part"):
                leftover.unlink()
            # First: a recipe.toml without it is a person's own, see `_only_leftovers`.
            self.checkpoints.mkdir(exist_ok=True)
            if not (self.path / "recipe.toml").exists():
                write_atomic(self.path / "recipe.toml", print_recipe(recipe).encode())
            if self._held is None:
                self.lock()
        except OSError as error:
            raise BitspikeError(f"run folder '{self.path}': cannot be written ({error.strerror or error})") from None

    def lock(self) -> None:
        """Hold the folder while this process lives; a folder that another process trains in is refused."""
        try:
            import fcntl
        except ImportError:  # not on Windows
            return
        self._held = open(self.path / ".lock", "w")  # noqa: SIM115 - held until the process ends
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._held.close()
            raise BitspikeError(f"run folder '{self.path}': another process is training in it") from None

    def unlock(self) -> None:
        """Let the folder go."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def recipe(self) -> Recipe:
        """The recipe the run was made from; the own files that it was made with are read first."""
        with contextlib.suppress(BitspikeError):  # damage is refused where the rest of it is read
            content = self.read("environment.json") if (self.path / "environment.json").exists() else {}
            folders = content.get("plugins") if isinstance(content, dict) else None
            known = folders if isinstance(folders, list) else []
            plugins.recall([folder for folder in known if isinstance(folder, str)])
        text = read_text(self.path / "recipe.toml", "run", "a recipe")
        return parse_recipe(text, f"'{self.path / 'recipe.toml'}'", stored=True)

    def write(self, name: str, content: Any) -> None:
        """Write `name` (JSON)."""
        write_json(self.path / name, content)

    def read(self, name: str) -> Any:
        """Read `name` (JSON)."""
        return read_json(self.path / name)

    def write_epochs(self, records: list[dict[str, Any]]) -> None:
        """metrics.jsonl: one object per epoch."""
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        write_atomic(self.path / "metrics.jsonl", lines.encode())

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """An .npz of plain arrays."""
        import io

        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_atomic(self.path / name, buffer.getvalue())


def environment(dataset: Any, recipe: Recipe, device: str, precision: str, processes: int) -> dict[str, Any]:
    """What a run stood on: versions, machine, data digests, classes, normalisation."""
    from importlib.metadata import version

    import torch

    from bitspike.kernels.cpu import back_end as cpu
    from bitspike.products import capabilities

    found: dict[str, Any] = {"version": __version__, "torch": torch.__version__, "numpy": np.__version__}
    found |= {"python": platform.python_version(), "platform": platform.platform()}
    found |= {"processor": _processor(), "cores": os.cpu_count(), "device": device, "precision": precision}
    found |= {"processes": processes, "threads": torch.get_num_threads()}
    loops = cpu.unavailable() or f"numba {version('numba')}"
    return {
        **found,
        "compute": {**recipe.compute.model_dump(), "time_loops": loops, "processor_has": str(capabilities())},
        "plugins": plugins.used(),
        "own_files": registry.own_files(recipe.resolved()),
        "seed": recipe.seed,
        "recipe_hash": recipe.recipe_hash(),
        "data": {
            "name": dataset.name,
            "kind": dataset.kind,
            "digests": dict(dataset.digests),
            "subset": dataset.subset,
            "classes": list(dataset.classes),
            "values": 1 if dataset.kind == "classification" else dataset.train.y.shape[1],
            "shape": list(dataset.shape),
            "steps": dataset.steps,
            "form": dataset.form,
            "examples": {part: len(getattr(dataset, part)) for part in ("train", "validation", "test")},
            "notes": list(dataset.notes),
        },
    }


def other_own_files(before: Mapping[str, Any], recipe: Recipe) -> str:
    """What of a run's own files is not as it was when the run was made, in words; "" where all is, or nobody knows."""
    stood = before.get("own_files")
    if not isinstance(stood, dict) or not stood:
        return ""
    now = registry.own_files(recipe.resolved())
    changed = [what for what, digest in stood.items() if now.get(what) != digest]
    return f"not as it was when the run was made: the own file of {', '.join(changed)}" if changed else ""


def _only_leftovers(path: Path) -> bool:
    """True for a folder with nothing in it but what a run leaves that was killed before it saved anything.

    Somebody's own files are none of that, nor is a recipe.toml that no run has put there.
    """
    if not path.is_dir():
        return False
    saved = path / "checkpoints"
    known = BEGUN if saved.is_dir() and all(UNNAMED.fullmatch(entry.name) for entry in saved.iterdir()) else ()
    return all(entry.name in known or entry.name.endswith((".part", ".lock")) for entry in path.iterdir())


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _first_difference(one: Any, other: Any, path: str = "") -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(set(one) | set(other)):
            if one.get(key) != other.get(key):
                return _first_difference(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    return f"{path}: {one!r} there, {other!r} now"
