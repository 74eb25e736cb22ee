"""Checkpoints: tensors in safetensors, everything else in JSON, replaced atomically; never pickle.

`NAME.json` is the checkpoint: it names the tensor file and its SHA-256. The tensor file is written under a
new name first, then the JSON replaces the old one in one rename, so that a kill or a full disk at any moment
leaves the earlier checkpoint whole. The tensors of the generation before stay until the next save, and who reads
while it is replaced reads again: other processes may load a checkpoint at any moment.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import BitspikeError, damaged
from bitspike.paths import kind_of, regular, replaceable

TENSOR, PAIRS, TUPLE = "__tensor__", "__pairs__", "__tuple__"


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: written beside it, flushed to disk, renamed."""
    replaceable(path, "saving")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BitspikeError(f"saving '{path}': {error.strerror or error}; earlier files are unchanged") from None


def write_json(path: Path, content: Any) -> None:
    """Replace `path` by `content` as JSON; numbers keep every digit."""
    write_atomic(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file, or one line that says what is wrong with it."""
    try:
        if kind_of(path, "run") is not None:
            regular(path, "run", "a JSON file")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number, parse_float=_finite)
    except FileNotFoundError:
        raise BitspikeError(f"'{path}': no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BitspikeError(f"'{path}': not readable as JSON ({error})") from None


def _no_number(text: str) -> float:
    raise ValueError(f"{text}, which is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def save_checkpoint(folder: Path, name: str, state: Any) -> None:
    """Save nested dicts, lists, numbers and tensors as checkpoint `name` in `folder`."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    tree = pack(state, "", tensors)
    data = save({key: value.contiguous().cpu() for key, value in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    file = f"{name}-{digest[:12]}.safetensors"
    kept = {file, _tensors_of(folder / f"{name}.json")}
    write_atomic(folder / file, data)
    write_json(folder / f"{name}.json", {"tensors": file, "sha256": digest, "state": tree})
    # Not by a pattern alone: another checkpoint's name may begin with this one's.
    own = re.compile(rf"{re.escape(name)}-[0-9a-f]{{12}}\.safetensors")
    for old in folder.iterdir():
        if own.fullmatch(old.name) and old.name not in kept:
            old.unlink(missing_ok=True)


def _tensors_of(path: Path) -> str | None:
    """The tensor file that a checkpoint names; None where there is none, or none that can be read."""
    try:
        return str(read_json(path)["tensors"])
    except (BitspikeError, KeyError, TypeError):
        return None


def load_checkpoint(folder: Path, name: str) -> Any:
    """Load what `save_checkpoint` saved; a missing, cut or altered file is refused in one line."""
    path = folder / f"{name}.json"
    content = read_json(path)
    while True:
        try:
            return _loaded(path, content)
        except BitspikeError:
            # Replaced while it was read: its tensors may be gone.
            before, content = content, read_json(path)
            if content == before:
                raise


def _loaded(path: Path, content: Any) -> dict[str, Any]:
    """The state in the content of a checkpoint's JSON and the tensors beside it."""
    from safetensors.torch import load

    folder = path.parent
    try:
        tensor_file, digest, tree = content["tensors"], content["sha256"], content["state"]
        if Path(tensor_file).name != tensor_file:
            raise BitspikeError(f"'{path}': tensors in '{tensor_file}', wanted a file beside it")
        data = (folder / tensor_file).read_bytes()
    except (KeyError, TypeError, ValueError):
        raise BitspikeError(f"'{path}': not a checkpoint (keys 'tensors', 'sha256' and 'state' wanted)") from None
    except OSError as error:
        raise BitspikeError(f"checkpoint '{path}': its tensors cannot be read ({error.strerror})") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise BitspikeError(
            f"checkpoint '{folder / tensor_file}': {len(data)} bytes that do not match their SHA-256 "
            "(cut short or altered)"
        )
    with damaged(f"'{path}'"):
        state = unpack(tree, load(data))
        if not isinstance(state, dict):
            raise ValueError(f"a {type(state).__name__} in the place of what was saved")
        return state


def pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The value as what JSON can hold; its tensors are put into `tensors`, by where they stand below `path`."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach()
        return {TENSOR: path}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: pack(entry, f"{path}/{key}", tensors) for key, entry in value.items()}
        return {PAIRS: [[key, pack(entry, f"{path}/{key}", tensors)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        packed = [pack(entry, f"{path}/{number}", tensors) for number, entry in enumerate(value)]
        return {TUPLE: packed} if isinstance(value, tuple) else packed
    return value


def unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """What `pack` was given."""
    if isinstance(value, dict):
        if TENSOR in value:
            return tensors[value[TENSOR]]
        if PAIRS in value:
            return {key: unpack(entry, tensors) for key, entry in value[PAIRS]}
        if TUPLE in value:
            return tuple(unpack(entry, tensors) for entry in value[TUPLE])
        return {key: unpack(entry, tensors) for key, entry in value.items()}
    if isinstance(value, list):
        return [unpack(entry, tensors) for entry in value]
    return value


def load_model_state(model: torch.nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load tensors into a model; names and shapes that differ are refused in one line."""
    wanted = model.state_dict()
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise BitspikeError(f"{source}: no tensors of a model")
    if missing := sorted(set(wanted) ^ set(state)):
        raise BitspikeError(f"{source}: tensors do not fit this recipe's model (first difference: '{missing[0]}')")
    for key, tensor in state.items():
        if tensor.shape != wanted[key].shape:
            shapes = f"{tuple(tensor.shape)}, wanted {tuple(wanted[key].shape)}"
            raise BitspikeError(f"{source}: tensor '{key}' has shape {shapes}")
    model.load_state_dict(state)
