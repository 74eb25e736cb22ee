"""A network of a person's own: any module that maps (T, B, *features) to scores (T, B, C).

One answer for the whole sequence, (B, C) or (1, B, C), is taken too. What a recipe holds of it is where it comes from:
the import path "package.module:factory" of a class or function that makes it without arguments, where there is one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from bitspike import registry
from bitspike.draws import global_draws
from bitspike.errors import BitspikeError, refuse
from bitspike.models.setting import Setting, checked_answer
from bitspike.neurons import Stochastic
from bitspike.weights import binary_parametrizations

HANDED = "from Python, bitspike.load(path, model=...) takes it"
MISTAKES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)


class _Draws(Stochastic, nn.Module):
    """Names what the module draws, as the draws of every other unit are named."""


class OwnNetwork(nn.Module):
    """`module` as a learner calls it: answers checked and brought to (T or 1, B, C); outputs: C; single: or C = 1.

    What the module draws in training (dropout) comes from torch's global generator, which is seeded for each call by
    the name of the update and put back, so that a run goes on after a kill as if there had been none.
    """

    def __init__(self, module: nn.Module, outputs: int, single: bool = False) -> None:
        super().__init__()
        self.module, self.outputs, self.draws = module, outputs, _Draws()
        self.taken = (outputs, 1) if single else (outputs,)

    @classmethod
    def from_options(cls, options: Any, setting: Setting, **given: Any) -> OwnNetwork:
        """The network of a recipe: of the module that was handed in, or of what its import path makes."""
        module = made(imported(options.factory), setting.seed) if setting.own is None else setting.own
        return cls(module, setting.outputs, single=setting.task == "classification" and setting.outputs == 2)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, *features) to (T, B, C)."""
        if not self.training:
            return self._checked(self.module(x), x)
        with global_draws(*self.draws.next_keys(), device=x.device):
            return self._checked(self.module(x), x)

    def _checked(self, answer: Any, x: Tensor) -> Tensor:
        return checked_answer(answer, x, self.taken)


def path_of(model: Any) -> str:
    """The import path of a class or function, where it is found there; else nothing."""
    home, name = getattr(model, "__module__", None), getattr(model, "__qualname__", None)
    if isinstance(model, nn.Module) or home in (None, "__main__") or not isinstance(name, str):
        return ""
    try:
        found: Any = attrgetter(name)(importlib.import_module(str(home)))
    except (ImportError, AttributeError):
        return ""
    return f"{home}:{name}" if found is model else ""


def imported(path: str) -> Callable[[], Any]:
    """What is at an import path; a path where nothing is, is one line."""
    if not path:
        raise BitspikeError(f"model: this run's network is a module of its author's own; {HANDED}")
    home, _, name = path.partition(":")
    try:
        return attrgetter(name)(importlib.import_module(home))  # type: ignore[no-any-return]
    except Exception as error:
        raise BitspikeError(
            f"model: '{path}' cannot be imported ({error}); with PYTHONPATH it may be; {HANDED}"
        ) from error


def made(model: Any, seed: int) -> nn.Module:
    """The module: as handed in, or made by a class or function, whose first weights are drawn by `seed`."""
    if isinstance(model, nn.Module):
        return model
    if not callable(model):
        refuse("model", type(model).__name__, "an nn.Module, or a class or function that makes one without arguments")
    with global_draws(seed, "own module"):
        found = model()
    if not isinstance(found, nn.Module):
        refuse("model", f"a function that makes {type(found).__name__}", "one that makes an nn.Module")
    return found


def probe(session: Any) -> None:
    """Answer some examples twice, and once with another first one, before anything is trained.

    Refused, by name: errors of the module, answers of other shapes, state that is kept from call to call, examples
    that change one another's answers (as where time and batch are exchanged).
    """
    learner, events = session.learner, _some(session)

    def answer(x: Tensor) -> Tensor:
        try:
            found: Tensor = learner.predict(x, 1)
        except MISTAKES as error:
            came = f"{type(error).__name__} ({error})"
            raise BitspikeError(f"model: got {came} on a batch {tuple(x.shape)}, wanted an answer (T, B, C)") from error
        return found

    first, again = answer(events), answer(events)
    if not same(first, again):
        refuse(
            "model", "another answer to the same batch the second time",
            "hidden states that begin anew in each call: reset them at the start of forward",
        )  # fmt: skip
    other = events.clone()
    other[:, 0] = events[:, -1]
    if not same(answer(other)[:, 1:], first[:, 1:]):
        refuse(
            "model", "other answers where only the first example of the batch differs",
            "one answer for each example: input is (T, B, ...), time first (batch second)",
        )  # fmt: skip


def _some(session: Any) -> Tensor:
    """A few training examples (T, B, *features), B unlike T and C if there are so many."""
    most = len(session.train.split)
    unlike = [b for b in (5, 6, 7, 4, 3, 2) if b <= most and b not in (session.form.steps, session.model.outputs)]
    events: Tensor = session.train.events(torch.arange(unlike[0] if unlike else most), 0)[0]
    return events


def uncounted(model: nn.Module) -> list[str]:
    """A line where a person's own neurons are all there are: nobody here knows their spikes."""
    if not isinstance(model, OwnNetwork) or any(getattr(m, "is_spiking", False) for m in model.modules()):
        return []
    return ["spikes and updates of the module's own neurons are not counted, and stand as 0; sums in its layers are"]


def same(one: Tensor, two: Tensor) -> bool:
    """Equal; away from the CPU up to rounding, which depends there on the order of threads."""
    return torch.equal(one, two) if one.device.type == "cpu" else torch.allclose(one, two, rtol=1e-4, atol=1e-5)


def precision_of(module: nn.Module) -> dict[str, Any]:
    """The recipe's table of weights for a module that `weights.quantise` has seen; empty for real weights.

    Of several precisions that of weights that are drawn, else that of the first.
    """
    found = [precision for _, precision, _ in binary_parametrizations(module)]
    if not found:
        return {}
    shown = next((precision for precision in found if precision.is_drawn), found[0])
    for name in registry.names("precision"):
        if type(shown) is registry.find("precision", name):
            fields = registry.options("precision", name).model_fields
            return {"precision": name, **{field: getattr(shown, field) for field in fields if hasattr(shown, field)}}
    refuse("model", f"weights of a {type(shown).__name__}", "a precision that is registered (bitspike.register)")
