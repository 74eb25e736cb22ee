"""What `bitspike init` and `bitspike train` reach on small real sets, over five folds: results/own-data.json.

For each set the recipe is the one that `bitspike init FILE` writes, with nothing but `data.options.fold` added (which
of five disjoint parts is tested). Beside it, on the same folds, stand the most probable weights of the same network
(MAP) and logistic (values: ridge) regression on the flattened input, standardised, fitted on everything that is not
tested: the network's training and validation part together.

Run: python docs/own_data_table.py measure [SET ...]      (finished runs are read back)
     python docs/own_data_table.py table                  (writes the table into docs/own-data.md)
BITSPIKE_DATA must hold the folders series and braille; the other sets come with scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bitspike
from bitspike.data import restore
from bitspike.run.assemble import load_data
from bitspike.run.initial import look, recipe_toml
from bitspike.run.recipe import Recipe
from bitspike.run.recipe_files import load_recipe
from bitspike.run.results import HARDWARE
from bitspike.run.rules import choices

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "own-data.json"
PAGE = ROOT / "docs" / "own-data.md"
FOLDS = 5
SETS = {
    "GunPoint": "series/GunPoint_train.npz",
    "BasicMotions": "series/BasicMotions_train.npz",
    "JapaneseVowels": "series/JapaneseVowels_train.npz",
    "Braille": "braille/braille.npz",
    "wine": "wine.csv",
    "diabetes": "diabetes.csv",
}
PENALTIES = np.logspace(-3, 4, 15)


def file_of(name: str, work: Path) -> Path:
    """The file of a set; a table of scikit-learn's is written first, as a person would have it."""
    given = SETS[name]
    if "/" in given:
        return Path(os.environ.get("BITSPIKE_DATA", "data")) / given
    from sklearn import datasets

    loaded: Any = {"wine": datasets.load_wine, "diabetes": datasets.load_diabetes}[name]()
    path = work / given
    rows = [",".join([*(str(n).replace(",", " ") for n in loaded.feature_names), "class" if name == "wine" else "y"])]
    for x, y in zip(loaded.data, loaded.target, strict=True):
        label = loaded.target_names[int(y)] if name == "wine" else repr(float(y))
        rows.append(",".join([*(repr(float(value)) for value in x), str(label)]))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def written(name: str, work: Path) -> Path:
    """The recipe that `bitspike init` writes for a set."""
    facts, _ = look(file_of(name, work))
    path = work / f"{name}.toml"
    about = f"{facts.examples:,} examples of {Path(SETS[name]).name}, bayesian weights"
    path.write_text(recipe_toml(name, about, choices(facts), str(path)), encoding="utf-8")
    return path


def baseline(recipe: Recipe) -> dict[str, float]:
    """Logistic or ridge regression on all that is not tested."""
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_data(recipe)
    x = torch.cat([data.train.x, data.validation.x]).flatten(1).double().numpy()
    y, tested = torch.cat([data.train.y, data.validation.y]), data.test.x.flatten(1).double().numpy()
    if data.kind == "regression":
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
        wanted = restore(data.test.y, data.target).numpy()
        guess = model.fit(x, restore(y, data.target).numpy()).predict(tested).reshape(wanted.shape)
        return {"rmse": float(np.sqrt(((guess - wanted) ** 2).mean()))}
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y.numpy())
    shares = model.predict_proba(tested)
    wanted = data.test.y.numpy()
    chosen = np.clip(shares[np.arange(len(wanted)), np.searchsorted(model.classes_, wanted)], 1e-12, 1)
    return {"accuracy": float((shares.argmax(1) == wanted).mean()), "nll": float(-np.log(chosen).mean())}


def measured(name: str, fold: int, work: Path, recipe_path: Path) -> dict[str, Any]:
    """One run and its opponents, read back if it is there."""
    recipe = load_recipe(str(recipe_path), [f"data.options.fold=[{fold},{FOLDS}]"])
    folder = work / f"{name}-{fold}"
    cost = work / f"{name}-{fold}.json"
    done = (folder / "result.json").exists() and cost.exists()
    if not done or bitspike.load(folder).recipe.recipe_hash() != recipe.recipe_hash():
        started = time.process_time()
        bitspike.train(recipe, folder, overwrite=True)
        cost.write_text(json.dumps({"processor_seconds": round(time.process_time() - started, 1)}), encoding="utf-8")
    run = bitspike.load(folder)
    result, key = run.result, "rmse" if run.form.task == "regression" else "accuracy"
    shown = {k: result["test"][k] for k in (key, "nll")}
    return {
        "fold": fold,
        "test_examples": run.environment["data"]["examples"]["test"],
        "shipped": {"answer": result["shipped"]["answer"], "temperature": result["shipped"]["temperature"]},
        "test": {**shown, **({"scaled_nll": result["test"]["scaled"]["nll"]} if key == "accuracy" else {})},
        "map": {k: result.get("test_map", result["test"])[k] for k in (key, "nll")},
        "ensemble": {k: result.get("test_ensemble", result["test"])[k] for k in (key, "nll")},
        "baseline": baseline(recipe),
        "warnings": result["warnings"],
        "seconds": result["seconds"],
        **json.loads(cost.read_text(encoding="utf-8")),
    }


def measure(names: list[str], work: Path) -> None:
    """All folds of the sets, kept after each run."""
    work.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = written(name, work)
        runs = []
        for fold in range(1, FOLDS + 1):
            runs.append(measured(name, fold, work, path))
            print(name, fold, runs[-1]["test"], runs[-1]["map"], runs[-1]["baseline"], flush=True)
        environment = bitspike.load(work / f"{name}-1").environment
        recipe = load_recipe(str(path)).resolved()
        for key in ("path", "test_path"):
            if key in recipe["data"]["options"]:
                recipe["data"]["options"][key] = Path(recipe["data"]["options"][key]).name
        # Read again each time: another process may have measured another set.
        content = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"folds": FOLDS, "sets": {}}
        content["sets"][name] = {
            "recipe": recipe,
            "version": environment["version"],
            "hardware": {key: environment[key] for key in HARDWARE if key in environment},
            "data": {"sha256": environment["data"]["digests"], "kind": environment["data"]["kind"]},
            "runs": runs,
        }
        RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def column(runs: list[dict[str, Any]], part: str, key: str) -> list[float]:
    """One number of every fold."""
    return [run[part][key] for run in runs]


def with_interval(values: list[float], factor: float, digits: int) -> str:
    """Mean of five folds and the 95 % interval of a mean (Student's t, 4 degrees of freedom)."""
    half = 2.776 * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{statistics.mean(values) * factor:.{digits}f} ± {half * factor:.{digits}f}"


def table() -> None:
    """The table between the marks of docs/own-data.md."""
    sets = json.loads(RESULTS.read_text(encoding="utf-8"))["sets"]
    lines = [
        "| set (tested in a fold) | shipped | its MAP | logistic / ridge | NLL raw | NLL shipped | as | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in sets.items():
        runs, classes = found["runs"], found["data"]["kind"] == "classification"
        key, factor = ("accuracy", 100) if classes else ("rmse", 1)
        cells = [with_interval(column(runs, part, key), factor, 1) for part in ("test", "map", "baseline")]
        nll = [f"{statistics.mean(column(runs, 'test', 'nll')):.3f}"]
        nll.append(f"{statistics.mean(column(runs, 'test', 'scaled_nll')):.3f}" if classes else "–")
        answers = [run["shipped"]["answer"] for run in runs]
        what = ", ".join(f"{answers.count(a)} × {a}" for a in sorted(set(answers)))
        tested = runs[0]["test_examples"]
        seconds = statistics.mean(run["processor_seconds"] for run in runs)
        unit = "%" if classes else "RMSE"
        lines.append(f"| {name} ({tested}), {unit} | {' | '.join([*cells, *nll])} | {what} | {seconds:.0f} |")
    text = PAGE.read_text(encoding="utf-8")
    block = "<!-- own-data -->\n" + "\n".join(lines) + "\n<!-- end -->"
    PAGE.write_text(re.sub(r"<!-- own-data -->\n.*?<!-- end -->", lambda _: block, text, flags=re.DOTALL), "utf-8")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "table"))
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; all if left out")
    parser.add_argument("--work", type=Path, default=Path("runs/own-data"), help="where the runs go")
    given = parser.parse_args()
    if unknown := [name for name in given.sets if name not in SETS]:
        parser.error(f"no set {unknown[0]!r}: one of {', '.join(SETS)}")
    if given.what == "measure":
        measure(given.sets or list(SETS), given.work)
    else:
        table()


if __name__ == "__main__":
    main()
