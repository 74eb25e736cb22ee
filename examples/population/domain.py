"""What the domains share: a member made of torch's modules and optimisers, and the command that evolves one.

    python examples/population/DOMAIN.py --strategy population|random --out runs/DOMAIN [--seed 0] [--population 4]
                                         [--updates N] [--every N]

Members begin with the same weights and see data, dropout and environments of their own, named by seed, member and
update; so a stopped command goes on where it was, by the same line. OUT/result.json says what came out, OUT/population
holds the turns. Random search takes the same first values, members and updates, and nobody copies.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.population.lineage import schedule
from bitspike.population.local import evolve
from bitspike.population.turn import Turn
from bitspike.run.checkpoint import read_json, write_json
from bitspike.run.signals import Interrupted
from bitspike.tables.population import Population
from bitspike.version import __version__


class Member:
    """A member of a population: `build` makes its parts, `update` learns once, `measure` scores what it is now."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def build(self, values: dict[str, Any]) -> dict[str, Any]:
        """Modules and optimisers by name, with these hyperparameters."""
        raise NotImplementedError

    def update(self, source: torch.Generator) -> float:
        """Learn once; returns a loss."""
        raise NotImplementedError

    def measure(self) -> float:
        """The score: more is better."""
        raise NotImplementedError

    def load(self, state: Any, values: dict[str, Any], key: tuple[Any, ...]) -> None:
        """See `bitspike.population.turn.Member`; optimisers keep the rates of `values`."""
        torch.manual_seed(self.seed)
        self.values, self.key, self.made = values, key, 0
        self.parts = self.build(values)
        if state is None:
            return
        self.made = state["made"]
        for name, part in self.parts.items():
            rates = [dict(group) for group in getattr(part, "param_groups", ())]
            part.load_state_dict(copy.deepcopy(state[name]))
            for group, own in zip(getattr(part, "param_groups", ()), rates, strict=True):
                group.update({option: value for option, value in own.items() if option != "params"})

    def step(self, updates: int) -> int:
        """Learn; a loss that is no number ends it."""
        for _ in range(updates):
            source = generator(self.seed, *self.key, "update", self.made)
            torch.manual_seed(int(torch.randint(2**62, (), generator=source)))  # dropout has no generator of its own
            loss = self.update(source)
            if not math.isfinite(loss):
                raise BitspikeError(f"the loss became {loss} at update {self.made}")
            self.made += 1
        return updates

    def evaluate(self) -> dict[str, float]:
        """The metric."""
        return {"score": self.measure()}

    def save(self) -> dict[str, Any]:
        """Copies of all parts."""
        return {"made": self.made} | {name: copy.deepcopy(part.state_dict()) for name, part in self.parts.items()}


def count(text: str) -> int:
    """A whole number from 1, for argparse, which names the option."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def options(about: str, updates: int, every: int) -> argparse.ArgumentParser:
    """The options of a domain's command, with its usual numbers."""
    found = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--strategy", choices=["population", "random"], default="population")
    found.add_argument("--out", type=Path, required=True, help="folder of the population")
    found.add_argument("--population", type=count, default=4, help="members")
    found.add_argument("--updates", type=count, default=updates, help="of each member")
    found.add_argument("--every", type=count, default=every, help="updates between two ready points")
    found.add_argument("--seed", type=int, default=0)
    return found


def evolved(member: Member, space: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """Evolve in the folder that was asked for, or read what came of it; the best member is then loaded.

    Whom a member copies: the worst fifth copies the best (truncation), which of four members is one each.
    """
    out: Path = asked.out
    strategy = {"population": "pbt", "random": "random"}[asked.strategy]
    chosen: dict[str, Any] = {"metric": "score", "size": asked.population, "every": asked.every, "space": space}
    chosen |= {"mode": "synchronous", "strategy": strategy}
    if strategy == "pbt":
        chosen["explore"] = {"kind": "perturb", "resample": 0.1}
    how: dict[str, Any] = {name: str(value) for name, value in sorted(vars(asked).items()) if name != "out"}
    how |= {"chosen": chosen, "version": __version__}
    out.mkdir(parents=True, exist_ok=True)
    if (out / "asked.json").exists():
        if read_json(out / "asked.json") != how:
            raise SystemExit(f"--out: '{out}' holds a population that was asked for otherwise, wanted another folder")
    else:
        write_json(out / "asked.json", how)
    started = time.monotonic()

    def watch(turn: Turn) -> None:
        said = "broke" if turn.score is None else f"{turn.score:.3f}"
        values = "  ".join(f"{name} {value:.3g}" for name, value in turn.values.items())
        copied = f"  from member {turn.parent[0]}" if turn.copied and turn.parent else ""
        clock = f"{time.monotonic() - started:.0f} s"
        print(f"{clock}  member {turn.member}  updates {turn.updates}  {said}  {values}{copied}", flush=True)

    found = evolve(
        member, Population.model_validate(chosen), asked.updates, asked.seed, None, watch, out / "population"
    )
    winner = found.winner
    member.load(found.state, winner.values, ("member", winner.member))
    return {
        "asked": how,
        "score": winner.score,
        "values": winner.values,
        "updates": sum(turn.made for turn in found.turns),
        "seconds": round(sum(turn.seconds for turn in found.turns), 1),
        "copies": sum(turn.copied for turn in found.turns),
        "broken": sum(bool(turn.broken) for turn in found.turns),
        "schedule": [stretch.to_dict() for stretch in schedule(found.turns, winner.node)],
        "curve": [[turn.member, turn.updates, turn.score, turn.ended] for turn in found.turns],
    }


def machine(*packages: str) -> dict[str, Any]:
    """What a result was measured with and on; packages: those that a domain stands on."""
    found: dict[str, Any] = {"version": __version__, "python": platform.python_version()}
    found |= {"platform": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    return found | {name: version(name) for name in ("torch", "numpy", *packages)}


def conclude(out: Path, result: dict[str, Any]) -> None:
    """Write and print what came out."""
    write_json(out / "result.json", result)
    shown = {name: result[name] for name in result if name not in ("asked", "schedule", "curve", "data", "environment")}
    print("\n".join(f"{name}: {value}" for name, value in shown.items()))


def command(main: Callable[[], None]) -> None:
    """Run a domain's `main`; what is refused (exit code 2) or stopped (130) is one line."""
    try:
        main()
    except (KeyboardInterrupt, Interrupted):
        print("stopped; the same line goes on", file=sys.stderr)
        raise SystemExit(130) from None
    except BitspikeError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
