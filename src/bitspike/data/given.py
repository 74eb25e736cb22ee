"""Examples that are in memory already: tensors (x, y), a torch `Dataset`, a `DataLoader`, or a `DataSet` of `load`.

    x (N, *features), or (N, T, *features) with time
      or recordings: `Events`, or a data set as Tonic's, of pairs (structured array of events, label)
    y whole numbers, booleans or texts (N,): classes; (N, T): a class for each step, -1 for none;
      real numbers (N,) or (N, D): values

x is taken as it stands; values y are scaled to their training range, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, TensorDataset
from torch.utils.data._utils.collate import default_collate

from bitspike.data import targets
from bitspike.data.arrays import as_numbers, check_finite
from bitspike.data.base import DataSet, Events, InputKind, Split
from bitspike.data.folder import TEST, data_set, strata
from bitspike.data.found import Found
from bitspike.data.givenevents import joined, on_one_sensor, recorded
from bitspike.data.normalise import NONE, apply
from bitspike.data.sameness import equal_examples
from bitspike.data.sources import sha256_of_arrays
from bitspike.data.splits import Parts, split
from bitspike.errors import refuse

WANTED = "tensors (x, y), a torch Dataset of such pairs or a DataLoader"
VALIDATION = 0.125
# Smaller remainders of an epoch are left out (`run.batches`).
SMALLEST = 8


@dataclass(frozen=True)
class Pairs:
    """x (N, ...) and y (N, ...) as they came; batch: of the DataLoader they came in.

    told: the sensor of recordings is said, not only seen.
    """

    x: Tensor | Events
    y: np.ndarray[Any, Any]
    field: str
    batch: int | None = None
    told: bool = True

    def digest(self) -> str:
        """SHA-256 of all values."""
        y = torch.from_numpy(np.unique(self.y, return_inverse=True)[1] if self.y.dtype.kind in "US" else self.y)
        x = self.x
        if isinstance(x, Events):
            return sha256_of_arrays(x.t, x.x, x.y, x.p, x.offsets, y)
        return sha256_of_arrays(x, y)


def pairs(data: Any, field: str) -> Pairs:
    """The examples of whatever was handed in, or one line on what is wrong with it."""
    batch = None
    if isinstance(data, DataLoader):
        batch, data = _checked_loader(data, field), data.dataset
    if (found := recorded(data, field)) is not None:
        return _recordings(*found, field, batch)
    if isinstance(data, TensorDataset):
        data = data.tensors
    elif not isinstance(data, tuple | list | Tensor | np.ndarray) and {"__getitem__", "__len__"} <= set(dir(data)):
        data = _stacked(data, field)
    if not isinstance(data, tuple | list) or len(data) != 2:
        came = f"{len(data)} things" if isinstance(data, tuple | list) else type(data).__name__
        refuse(field, came, WANTED)
    x, y = _array(data[0], f"{field} x"), _array(data[1], f"{field} y")
    if x.dtype.kind not in "biuf" or x.ndim < 2 or x.size == 0:
        refuse(f"{field} x", f"{x.dtype} of shape {x.shape}", "numbers of shape (N, *features) or (N, T, *features)")
    if y.ndim == 0 or len(y) != len(x):
        refuse(f"{field} y", f"shape {y.shape}", f"({len(x)}, ...): a target for each of the {len(x)} examples of x")
    check_finite(f"{field} x", x)
    check_finite(f"{field} y", y)
    return Pairs(as_numbers(x), y, field, batch)


def _recordings(x: Events, labels: Any, told: bool, field: str, batch: int | None) -> Pairs:
    y = _array(labels, f"{field} y")
    if y.ndim != 1 or len(y) != len(x):
        refuse(f"{field} y", f"shape {y.shape}", f"({len(x)},): a class for each of the {len(x)} recordings")
    if y.dtype.kind not in "biuUS":
        refuse(f"{field} y", y.dtype, "classes: whole numbers or texts")
    return Pairs(x, y, field, batch, told)


def _array(values: Any, field: str) -> np.ndarray[Any, Any]:
    try:
        return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except (TypeError, ValueError, RuntimeError):
        refuse(field, type(values).__name__, "a tensor or an array of numbers")


def _stacked(data: Any, field: str) -> tuple[Any, Any]:
    """All examples of a map-style dataset; one that gives another example each time it is asked is refused."""
    if len(data) == 0:
        refuse(field, "no example", "examples")
    items = [data[i] for i in range(len(data))]
    for i, item in enumerate(items):
        if not isinstance(item, tuple | list) or len(item) != 2:
            refuse(f"{field}[{i}]", type(item).__name__, "a pair (x, y)")
    x = [_array(item[0], f"{field}[{i}] x") for i, item in enumerate(items)]
    if wrong := [i for i, one in enumerate(x) if one.shape != x[0].shape]:
        refuse(f"{field}[{wrong[0]}] x", f"shape {x[wrong[0]].shape}", f"that of the first example, {x[0].shape}")
    if not np.array_equal(x[0], _array(data[0][0], field)):
        refuse(f"{field}[0]", "other values the second time", "a dataset without random changes (each is read once)")
    return np.stack(x), np.stack([_array(item[1], f"{field}[{i}] y") for i, item in enumerate(items)])


def _checked_loader(loader: DataLoader[Any], field: str) -> int:
    """The batch size of a loader that does nothing but shuffle and batch; other things are refused by name."""
    data: Any = loader.dataset
    if isinstance(data, IterableDataset):
        refuse(field, "a DataLoader of an IterableDataset", WANTED)
    if loader.batch_size is None or loader.collate_fn is not default_collate:
        name = "batch_sampler" if loader.batch_size is None else "collate_fn"
        refuse(field, f"a DataLoader with a {name} of its own", "one with batch_size, or its Dataset")
    sampler: Any = loader.sampler
    kinds = (RandomSampler,) if field == "data" else (RandomSampler, SequentialSampler)
    whole = type(sampler) in kinds and not getattr(sampler, "replacement", False) and len(sampler) == len(data)
    if not whole:
        wanted = "shuffle=True (each epoch in an order drawn from the seed)" if field == "data" else "no sampler"
        refuse(field, f"a DataLoader with a {type(sampler).__name__}", f"one of all examples with {wanted}")
    if loader.drop_last:
        refuse(field, "a DataLoader with drop_last=True", "drop_last=False")
    return int(loader.batch_size)


def given(
    data: Any,
    *,
    time: bool,
    validation: Any = None,
    test: Any = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[DataSet, int | None]:
    """The examples as a data set of three parts, and the batch size of a DataLoader.

    time: x is (N, T, *features). validation, test: a share of what is left (default 0.125) and of all (default 0.2), a
    number, or data of their own; shares are drawn by `seed`. classes: names by number, where y holds numbers
    of classes that not all have examples.
    """
    if isinstance(data, DataSet):
        if validation is not None or test is not None or classes is not None:
            refuse("data", f"a DataSet ('{data.name}') with validation, test or classes beside it", "these left out")
        return data, None
    for name, share in (("validation", validation), ("test", test)):
        if isinstance(share, bool) or (isinstance(share, int | float) and not share > 0):
            refuse(name, share, "a share above 0, a number of examples, or data")
    first = pairs(data, "data")
    if time and isinstance(first.x, Tensor) and first.x.ndim < 3:
        came = f"shape {tuple(first.x.shape)}, which has no time axis"
        refuse("data x", came, "(N, T, *features), or encoder='direct' (or 'rate') and steps=8 for values without time")
    apart = {"validation": validation, "test": test}
    others = {k: pairs(v, k) for k, v in apart.items() if not (v is None or isinstance(v, int | float))}
    every = [first, *others.values()]
    x = _joined(every)
    time = time and isinstance(x, Tensor)
    try:
        y = np.concatenate([one.y for one in every])
    except ValueError:
        refuse("y", ", ".join(str(one.y.shape) for one in every), "targets of one form in all parts")
    mask = y >= 0 if time and y.dtype.kind in "iu" and y.ndim == 2 and y.shape[1] == x.shape[1] else None
    meant_by, digests = targets.of_array(y, "data y", mask), {one.field: one.digest() for one in every}
    form: InputKind = "events" if isinstance(x, Events) else "series" if time else "vector"
    found = Found("data", x, meant_by, form, digests, time, normalisation=dict(NONE) if form == "events" else None)
    # Classes of whole numbers and texts, values of real numbers: the dtype says which.
    kind: targets.Target = "value" if meant_by.values.dtype.kind == "f" else "class"
    meant = targets.meaning(meant_by, kind) if classes is None else _named(meant_by, classes)
    parts = _parts(strata(meant), [len(one.x) for one in every], others.keys(), validation, test, seed)
    made = replace(data_set(found, meant, parts, "none"), name="given", numbered=classes is not None)
    notes = [*made.notes, *made.missing_classes(), *equal_examples(made)]
    if first.batch is not None and 0 < (left := len(made.train) % first.batch) < min(SMALLEST, len(made.train)):
        notes.append(f"a last batch of {left} is left out of each epoch, other examples each time")
    return replace(made, notes=tuple(notes)), first.batch


def _joined(every: list[Pairs]) -> Tensor | Events:
    """x of all parts, which have to be of one form."""
    first = every[0].x
    tensors = [one.x for one in every if isinstance(one.x, Tensor)]
    events = [one.x for one in every if isinstance(one.x, Events)]
    if tensors and events:
        refuse("data", "recordings of events in one part, arrays in another", "one of them")
    if events:
        fields = ["data" if one is every[0] else one.field for one in every]
        return joined(on_one_sensor(events, [one.told for one in every], fields))
    assert isinstance(first, Tensor)
    for one, x in zip(every, tensors, strict=True):
        if x.shape[1:] != first.shape[1:]:
            refuse(f"{one.field} x", f"shape {tuple(x.shape)}", f"(N, {str(tuple(first.shape[1:]))[1:]}, as data x")
    return torch.cat([x.to(first.dtype) for x in tensors])


def again(validation: float | None, test: float | None) -> NoReturn:
    """What a run learned from is nowhere but in the hands of who handed it in."""
    came = "a run on examples that were handed to bitspike.fit"
    refuse("data", came, "them again: Run.evaluate(data=(x, y)), or a labelled file")


def labelled(data: Any, form: dict[str, Any], classes: tuple[str, ...], field: str) -> tuple[Split, str]:
    """Examples to measure a run on (its `DataSet.form` and class names), and their digest; x as in training.

    Whole numbers among y are numbers of classes where training had such, or where no class is called a number; else
    the class is the one called so.
    """
    found = pairs(data, field)
    shape = (*([form["steps"]] if form["steps"] else []), *form["shape"])
    x = found.x
    if isinstance(x, Events):
        if form["input"] != "events":
            refuse(f"{field} x", "recordings of events", f"{form['input']} input, as in training")
        fits = all(mine <= other for mine, other in zip(x.shape, shape, strict=True))
        if not fits or (found.told and x.shape != shape):
            refuse(f"{field} x", f"recordings of shape {x.shape}", f"{shape}, as in training")
        x = replace(x, shape=shape)
    elif tuple(x.shape[1:]) != shape:
        refuse(f"{field} x", f"shape {tuple(x.shape)}", f"(N, {', '.join(map(str, shape))}), as in training")
    mask = found.y >= 0 if form.get("per_step") and found.y.shape == tuple(x.shape[:2]) else None
    given = targets.of_array(found.y, f"{field} y", mask)
    numbers = form.get("numbered") or not any(name.strip().lstrip("-").isdigit() for name in classes)
    if classes and numbers and given.values.dtype.kind in "iu":
        y = _named(given, classes).y
    elif classes:
        y = targets.classified(given, classes)
    else:
        y = apply(torch.from_numpy(targets.numbers_of(given)), form["target"])
    if y.ndim != (2 if form.get("per_step") or not classes else 1):
        refuse(f"{field} y", f"shape {tuple(y.shape)}", "targets as in training, for each example or for each step")
    return Split(x.float() if isinstance(x, Tensor) else x, y, torch.arange(len(y))), found.digest()


def _named(y: targets.Given, classes: Sequence[str]) -> targets.Targets:
    names = tuple(map(str, classes))
    if len(set(names)) != len(names) or len(names) < 2:
        refuse("classes", names, "at least 2 names, each once")
    flat = y.flat()
    if flat.dtype.kind not in "iu" or flat.ndim != 1 or not 0 <= flat.min() <= flat.max() < len(names):
        refuse(y.field, f"{flat.dtype} from {flat.min()} to {flat.max()}", f"class numbers 0 to {len(names) - 1}")
    numbers = y.values.astype(np.int64)
    return targets.Targets(torch.from_numpy(numbers if y.mask is None else numbers.clip(min=targets.NO_STEP)), names)


def _parts(labels: Tensor, counts: list[int], apart: Any, validation: Any, test: Any, seed: int) -> Parts:
    """Rows of the three parts: those given apart stand behind the others, validation first."""
    rows = list(torch.arange(sum(counts)).split(counts))
    known = labels[rows[0]]
    share = {"validation": VALIDATION if validation is None else validation, "test": TEST if test is None else test}
    if not apart:
        return split(known, seed, share["validation"], share["test"], "data")
    if len(apart) == 2:
        return Parts(*rows)
    name = "test" if "validation" in apart else "validation"
    inner = split(known, seed, share[name], None, f"data, for {name}")
    others = (inner.validation, rows[1])
    return Parts(inner.train, *(others if name == "validation" else reversed(others)))
