"""Which of two cues came first, further apart than a synapse remembers: results/cue-order.json.

The recipes cue-order-vowel and cue-order-glm as they are, with hidden circuits, and without any: once deaf to their own
outputs, once hearing them. Three seeds each; the decoder counts symbols.

Run: python docs/cue_order.py (embedded data; about ten minutes of one core). It may be stopped and started again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from study import environment_of, spread, trained

from bitspike.run.checkpoint import write_json

RECIPES = ("cue-order-vowel", "cue-order-glm")
ARMS: dict[str, list[str]] = {
    "hidden": [],
    "outputs alone": ["model.hidden=0"],
    "outputs alone, hearing outputs": ["model.hidden=0", "model.output_memory=true"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--runs", type=Path, default=Path("runs/cue-order"))
    parser.add_argument("--out", type=Path, default=Path("results/cue-order.json"))
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    for recipe in RECIPES:
        for arm, changes in ARMS.items():
            stem = f"{recipe}-{arm.replace(',', '').replace(' ', '-')}"
            runs = [trained(recipe, asked.runs / f"{stem}-{seed}", changes, seed) for seed in asked.seeds]
            found.setdefault(recipe, {})[arm] = {
                "accuracy": spread([run.result["test"]["accuracy"] for run in runs]),
                "recipe": runs[0].recipe.resolved(),
            }
            print(recipe, arm, found[recipe][arm]["accuracy"], flush=True)
    environment = environment_of(runs[0])
    content = {"recipes": found, "seeds": asked.seeds, "recordings": len(runs[0].dataset().test)}
    write_json(asked.out, content | {"environment": environment})


if __name__ == "__main__":
    main()
