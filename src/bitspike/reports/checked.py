"""The entrance of the reports: files of a run are read whole, measured and checked here, or named in one line.

What passes can be drawn: numbers are finite and of a size that can be drawn, arrays have the dimensions they are read
with, tables are tables. A null or NaN among JSON's readings is a missing one: a dash on the page.
"""

from __future__ import annotations

import json
import math
import tomllib
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bitspike.errors import refuse

Array = NDArray[Any]

DEEPEST, LARGEST, MOST_BYTES = 40, 1e60, 1 << 30


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Keys of the JSON files by what they hold, wherever they stand; a value may be null. Keys that are not here are free.
NUMBERS = _names(
    "epoch epochs kept_epoch best_epoch seconds step steps accuracy nll brier ece adaptive_ece classwise_ece rmse loss "
    "temperature noise scaled_nll draws spikes counts weights_stored significant significant_nonzero spikes_per_neuron "
    "average average_range average_with_real_states average_with_carries average_by_weight "
    "significant_by_weight entropy bit_length most_levels largest silent adds units mac ac "
    "add_real neuron_updates filter_updates joules joules_compute joules_neurons joules_synops synop neuron here at "
    "joules_compute_zeros_skipped joules_compute_input_zeros_skipped activation_bits weight_bits dense "
    "spikes_per_synapse time dt tau_s twin agreement start end mean_rate rate examples limit ann within_a_point "
    "seed train validation test network opponent bits"
)
TABLES = _names(
    "train validation test scaled test_map test_single_draw test_rate shipped baselines bits levels energy "
    "network opponent non_spiking_twin cross_over devices data form chosen wanted reliability reliability_scaled "
    "majority logistic ridge bytes joules_with_memory"
)
LISTS = _names("over_time windows layers by_layer assumptions classes warnings confusion edges count")
TEXTS = _names("answer why version started device synapse split label unit")
# Some names mean one thing in one file and another elsewhere: any of these will do.
VALUES: tuple[tuple[frozenset[str], type | tuple[type, ...], str], ...] = (
    (NUMBERS, (int, float), "a number"),
    (TABLES, dict, "a table"),
    (LISTS, list, "a list"),
    (TEXTS, str, "text"),
)
# What the lists hold.
ENTRIES: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("over_time", "windows", "by_layer"), (dict, "a table")),
    **dict.fromkeys(("assumptions", "warnings"), (str, "text")),
}
# Numbers, or one for each layer, bin or step.
PLURAL = _names("accuracy confidence counts spikes rates neurons layers bits test validation steps limit noise")

# Tables whose names are other people's.
OPEN = _names("metrics")

# Arrays of the .npz files by the dimensions that they may have, and those that hold shares.
DIMENSIONS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("temperature",), (0,)),
    **dict.fromkeys(("index", "raster_index", "epochs", "edges"), (1,)),
    **dict.fromkeys(("inputs", "train_inputs", "grid_x", "grid_probability"), (2,)),
    **dict.fromkeys(("raster_inputs", "raster_images"), (3,)),
    **dict.fromkeys(("probabilities", "prediction"), (3, 4)),
    **dict.fromkeys(("targets", "train_targets", "raster_targets"), (1, 2, 3)),
}
SHARES = _names("probabilities grid_probability edges")


def text_of(path: Path) -> str:
    """The text of a file in UTF-8."""
    if path.stat().st_size > MOST_BYTES:
        refuse(str(path), f"{path.stat().st_size:,} bytes", "1 GiB at most")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        refuse(str(path), "bytes that are not UTF-8", "text")


def toml_of(path: Path) -> dict[str, Any]:
    """A recipe: its sections are tables."""
    try:
        found = tomllib.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        refuse(str(path), f"broken TOML ({_brief(error)})", "a resolved recipe")
    for key in ("data", "model", "weights", "encoder", "evaluation", "training"):
        if not isinstance(found.get(key, {}), dict):
            refuse(f"{path} {key}", _said(found[key]), "a table")
    _walk(found, str(path), "", kinds=False)
    return found


def json_of(path: Path) -> dict[str, Any]:
    """One JSON object of readings."""
    return _object(text_of(path), str(path))


def environment_of(path: Path) -> dict[str, Any]:
    """environment.json: names in it may be those of files, so that few have kinds of their own."""
    found = _object(text_of(path), str(path), kinds=False)
    data = found.get("data", {})
    if not isinstance(data, dict):
        refuse(f"{path} data", _said(data), "a table")
    examples, classes = data.get("examples", {}), data.get("classes")
    for part, count in (examples if isinstance(examples, dict) else {"": examples}).items():
        if count is not None and (isinstance(count, bool) or not isinstance(count, int | float) or not count >= 0):
            refuse(f"{path} data.examples {part}", _said(count), "a count")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str | int) for name in classes)):
        refuse(f"{path} data.classes", _said(classes), "a list of names")
    return found


def json_lines_of(path: Path) -> list[dict[str, Any]]:
    """One JSON object to a line; empty lines are passed over."""
    lines = enumerate(text_of(path).split("\n"), start=1)
    return [_object(line, f"{path} line {i}") for i, line in lines if line.strip()]


def _object(text: str, where: str, kinds: bool = True) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        refuse(where, f"broken JSON ({error.msg}, column {error.colno})", "one JSON object")
    except (ValueError, RecursionError) as error:
        refuse(where, f"broken JSON ({_brief(error)})", "one JSON object")
    if not isinstance(found, dict):
        refuse(where, f"a JSON {type(found).__name__}", "one JSON object")
    _walk(found, where, "", kinds)
    return found


def _walk(value: object, where: str, key: str, kinds: bool, depth: int = 0) -> None:
    """Refuse what cannot be shown anywhere below: wrong kinds, huge numbers, broken text, endless nesting."""
    place = f"{where} {key}".strip()
    if depth > DEEPEST:
        refuse(place, f"more than {DEEPEST} levels", "fewer")
    if isinstance(value, Mapping):
        for name, each in value.items():
            _unbroken(name, f"{where}, a name")
            below = f"{key}.{name}".strip(".")
            if kinds:
                _of_its_kind(name, each, f"{where} {below}")
            _walk(each, where, below, kinds and name not in OPEN, depth + 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            _walk(each, where, f"{key}[{number}]", kinds, depth + 1)
    elif isinstance(value, str):
        _unbroken(value, place)
    elif isinstance(value, int | float) and LARGEST < abs(value) < math.inf:
        refuse(place, "a number beyond 1e60", "one that can be drawn")


def _of_its_kind(name: str, value: object, place: str) -> None:
    """Refuse a value that is of none of the kinds its name allows; free names allow all."""
    entries = ENTRIES.get(name)
    if entries is not None and isinstance(value, list):
        for k, each in enumerate(value):
            if not isinstance(each, entries[0]):
                refuse(f"{place}[{k}]", _said(each), entries[1])
    allowed = [(kind, words) for names, kind, words in VALUES if name in names]
    if value is None or not allowed:
        return
    if name in PLURAL:
        allowed += [(list, "a list"), (dict, "a table")]
    if isinstance(value, bool) or not any(isinstance(value, kind) for kind, _ in allowed):
        refuse(place, _said(value), " or ".join(dict.fromkeys(words for _, words in allowed)))


def _unbroken(text: str, place: str) -> None:
    """Refuse halves of letters, which no file can hold."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        refuse(place, "half a letter (a lone surrogate)", "text")


def _said(value: object) -> str:
    """A value in a few words: it may be of any length."""
    shown = f"a {'table' if isinstance(value, dict) else type(value).__name__}"
    return f"{value!r}" if isinstance(value, str | int | float | bool) and len(f"{value!r}") <= 40 else shown


def _brief(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def arrays_of(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file: numbers, finite, of the dimensions their names ask for."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = dict(_members(archive))
    except OSError:
        raise
    except Exception as error:
        # A damaged archive makes zipfile and numpy raise almost anything, from zlib.error to RuntimeError.
        refuse(str(path), f"a broken archive ({type(error).__name__})", "an .npz file of plain arrays")
    for name, array in found.items():
        _sound(f"{path} {name}", name, array)
    return found


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, Array]]:
    """Arrays by name; their stated sizes are held against what the archive holds before memory is taken."""
    for member in archive.infolist():
        if member.file_size > MOST_BYTES:
            raise ValueError("an array of more than 1 GiB")
        with archive.open(member) as file:
            shape, fortran, dtype = _header(file)
            count = math.prod(shape)
            if dtype.hasobject or count * dtype.itemsize + file.tell() != member.file_size:
                raise ValueError("an array that is not of its stated size")
            array = np.frombuffer(file.read(), dtype=dtype, count=count)
        yield member.filename.removesuffix(".npy"), array.reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if any(size < 0 for size in shape) or len(shape) > 8:
        raise ValueError("an impossible shape")
    return shape, fortran, np.dtype(dtype)


def _sound(place: str, name: str, array: Array) -> None:
    """Refuse values that are no numbers, not finite or out of bounds, and other numbers of dimensions."""
    if array.dtype.kind not in "biuf":
        refuse(place, f"values of type {array.dtype}", "numbers")
    counts, spikes = name.startswith("counts/"), name.removeprefix("raster_").isdigit() or name == "raster_events"
    dimensions = tuple(range(3, 9)) if spikes else (2,) if counts else DIMENSIONS.get(name)
    if dimensions is None:
        return
    if array.ndim not in dimensions:
        words = " or ".join(map(str, dimensions)) if len(dimensions) < 5 else f"{dimensions[0]} or more"
        refuse(place, f"shape {array.shape}", f"{words} dimension{'' if words == '1' else 's'}")
    if array.ndim and 0 in array.shape:
        refuse(place, f"shape {array.shape}", "an array with entries")
    most = min(LARGEST, float(np.finfo(array.dtype).max)) if array.dtype.kind == "f" else LARGEST
    low, high = (-1e-3, 1 + 1e-3) if name in SHARES else (0 if counts else -most, most)
    # NaN fails both comparisons.
    inside = (array >= low) & (array <= high)
    if not inside.all():
        at = tuple(int(k) for k in np.argwhere(~inside)[0])
        limits = " from 0 to 1" if name in SHARES else ", counts" if counts else ", finite, and none beyond 1e60"
        refuse(f"{place}{list(at) if at else ''}", f"{float(array[at]):g}", f"numbers{limits}")
