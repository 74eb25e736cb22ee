"""Weights that somebody else saved, put into a module: every key and shape fits, or one line says which does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.checks import check_finite
from bitspike.convert.entrance import plain_words
from bitspike.errors import refuse

State = Mapping[str, Tensor] | Path | str
NESTED = ("state_dict", "model_state_dict", "model")
SHOWN = 3  # keys named in an error


def load_weights(model: nn.Module, state: State) -> None:
    """Load a `state_dict`, or the file of one (torch.save or .safetensors), into `model`.

    A file may hold it under "state_dict", "model_state_dict" or "model"; a "module." before every key (data-parallel
    training) is dropped. Files are read as tensors alone: nothing in them is run.
    """
    named = "state_dict" if isinstance(state, Mapping) else f"'{state}'"
    values: Any = state if isinstance(state, Mapping) else _read(Path(state))
    for name in NESTED:
        if isinstance(values, Mapping) and isinstance(values.get(name), Mapping):
            values = values[name]
    if not isinstance(values, Mapping) or not all(isinstance(v, Tensor) for v in values.values()):
        refuse(named, f"a {type(values).__name__} that holds more than tensors", "a state_dict: names and tensors")
    own = model.state_dict()
    if values and all(key.startswith("module.") for key in values) and not all(k.startswith("module.") for k in own):
        values = {key.removeprefix("module."): value for key, value in values.items()}
    missing, unknown = [k for k in own if k not in values], [k for k in values if k not in own]
    # Files of before batch counters were kept do without them.
    missing = [k for k in missing if not k.endswith("num_batches_tracked")]
    wanted = f"the keys of {type(model).__name__}"
    if missing or unknown:
        parts = [f"no {_few(missing)}"] if missing else []
        parts += [f"unknown {_few(unknown)}"] if unknown else []
        refuse(named, "; ".join(parts), wanted)
    for key, value in values.items():
        if value.shape != own[key].shape:
            refuse(f"{named} {key!r}", f"shape {tuple(value.shape)}", f"{tuple(own[key].shape)}")
        check_finite(f"{named} {key!r}", value)
    model.load_state_dict(dict(values), strict=False)


def _read(path: Path) -> Any:
    if not path.is_file():
        refuse(f"'{path}'", "no such file", "the file of a state_dict")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # What a damaged file raises has no common class.
        if path.suffix == ".safetensors":
            refuse(f"'{path}'", f"a damaged file ({error})", "a .safetensors file")
        if "Unsupported global" in str(error):
            refuse(f"'{path}'", "a pickle of other objects than tensors (a whole module?)", "that of a state_dict")
        # What torch says of its options is no help to somebody who picked the wrong file.
        first = "no pickle of tensors" if "weights_only" in str(error) else plain_words(error).split(". ")[0]
        refuse(f"'{path}'", f"a file that cannot be read as tensors ({first})", "what torch.save made of a state_dict")


def _few(keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(map(repr, keys[:SHOWN])) + more
