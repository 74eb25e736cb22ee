"""What is attacked: each file of a run, by everything that reads it."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tests.campaigns.inside import in_json, in_lines, in_npz
from tests.campaigns.readers import Target, Use, _both

# Tiny runs of 40 images of 6 x 6: Bayesian weights, soft rates (as spikes), ReLUs (as spikes and swept); and of the
# same pixels in one file, which is read in no time: what is resumed (from the last and the best epoch), and circuits.
SMALL = ["training.epochs=2", "training.batch=16", "evaluation.draws=2"]
PLAIN = ["data.set='folder'", "data.shift=0"]
RUNS = {
    "bayesian": ("digits-bayes", ["model.layers=['6']", *SMALL]),
    "halfway": ("digits-bayes", ["model.layers=['6']", *SMALL]),
    "best": ("digits-bayes", ["model.layers=['6']", *SMALL, "training.keep='best'"]),
    "soft": ("soft-lif-digits", ["model.layers=['3c3','6']", *SMALL]),
    "relu": ("cnn-mnist", ["model.layers=['3c3','6']", *SMALL]),
    "circuits": ("digits-vowel", ["encoder={name='rate', steps=3}", "model.hidden=2", "training.epochs=2"]),
}
HALFWAY = ("halfway", "best", "circuits")  # as a kill leaves them

RARELY = 10
drawn = 0


def material(folder: Path) -> None:
    """The runs, made once: a folder for each; `halfway` and `best` are as a kill leaves them."""
    import bitspike
    from bitspike.studies.hybrid import sweep_run
    from bitspike.studies.relu_spiking import evaluate_rates
    from bitspike.studies.spiking import evaluate_spiking
    from bitspike.studies.stream import streamed

    if (folder / "whole").exists():
        return
    from PIL import Image

    draw, every = np.random.default_rng(0), []
    for name in "ab":
        (folder / "set" / name).mkdir(parents=True, exist_ok=True)
        for number in range(20):
            pixels = draw.integers(0, 128, (6, 6), np.uint8)
            pixels[:, :3] += 100 * (name == "a")
            Image.fromarray(pixels).save(folder / "set" / name / f"{number}.png")
            every.append(pixels.ravel())
    np.savez(folder / "set.npz", x=np.stack(every), y=np.repeat(["a", "b"], 20))
    runs = {}
    for name, (recipe, overrides) in RUNS.items():
        path = folder / ("set.npz" if name in HALFWAY else "set")
        asked = [*PLAIN, f"data.options={{path='{path}'}}", *overrides]
        runs[name] = bitspike.train(recipe, folder / name, overrides=asked, overwrite=True)
    runs["soft"].folder.write("spiking.json", evaluate_spiking(runs["soft"], time=0.02, window=[(0.01, 0.02)]))
    runs["relu"].folder.write("relu_spiking.json", evaluate_rates(runs["relu"], steps=4))
    sweep_run(runs["relu"], (1,), (1.0, 4.0), examples=20, within=1.0)
    # A page shows what is measured, whatever the run; beside soft rates it is no other row's burden.
    runs["soft"].folder.write("stream.json", streamed(runs["circuits"], "test", 8, 2))
    for run in HALFWAY:
        for name in ("result.json", "predictions.npz", "history.npz"):
            (folder / run / name).unlink(missing_ok=True)
    (folder / "whole").touch()


Verb = Callable[[Path], object]


def _load(run: Path) -> None:
    """Load, predict two images, measure again."""
    import bitspike

    found = bitspike.load(run)
    # What is damaged may be the recipe, which says where the pictures are.
    if isinstance(path := found.recipe.data.options.get("path"), str):
        found.predict(found.prepare(Path(path) / "a" / "1.png")[0])
    found.evaluate()


def _report(run: Path) -> None:
    from bitspike.reports import report

    report(run)


def _compare(run: Path) -> None:
    from bitspike.reports import compare

    compare([run], run / "compare.html")


def _results(run: Path) -> None:
    from bitspike.run.results import collect

    collect([run])


def _resume(run: Path) -> None:
    """Go on with the run, by its own recipe."""
    import bitspike
    from bitspike.run.folder import RunFolder

    bitspike.train(RunFolder.existing(run).recipe(), run, resume=True)


def _file(run: str, pattern: str, verbs: tuple[Verb, ...], text: bool = False) -> Target:
    """The file of `run` that fits `pattern`; of two generations of a checkpoint's tensors, the one in use."""

    def opened(material: Path, work: Path) -> tuple[list[bytes], Use]:
        path = max((material / run).glob(pattern), key=lambda file: file.stat().st_mtime_ns).relative_to(material / run)
        copy = work / "run"

        def use(content: bytes) -> None:
            # A fresh copy each time: what a verb writes must not help the next one.
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(material / run, copy)
            (copy / path).write_bytes(content)
            _both(*(lambda verb=verb: verb(copy) for verb in verbs))

        return [(material / run / path).read_bytes()], use

    inside = {".json": in_json, ".jsonl": in_lines, ".npz": in_npz}.get(Path(pattern).suffix)
    return Target(opened, text, inside)


def _words(run: Path) -> None:
    """All that a page says but its figures."""
    from bitspike.reports import tables
    from bitspike.reports.energy import accounts
    from bitspike.reports.levels import levels
    from bitspike.reports.rundata import read_run
    from bitspike.reports.text import ships, summary

    found = read_run(run)
    for say in (summary, ships, tables.tiles, tables.readings, tables.bits, levels, accounts, tables.environment):
        say(found)


def _sometimes(run: Path) -> None:
    """Pages with figures of every tenth mutant: they take a second or more. `drawn` counts them."""
    global drawn
    content = b"".join(path.read_bytes() for path in sorted(run.iterdir()) if path.is_file())
    if zlib.crc32(content) % RARELY == 0:
        drawn += 1
        _both(lambda: _report(run), lambda: _compare(run))


DRAWN: tuple[Verb, ...] = (_words, _sometimes)
ALL: tuple[Verb, ...] = (_load, _results, _words, _sometimes)
RUN_FILES: dict[str, Target] = {
    "run-recipe": _file("bayesian", "recipe.toml", ALL, text=True),
    "run-environment": _file("bayesian", "environment.json", ALL, text=True),
    "run-split": _file("bayesian", "split.npz", (_load,)),
    "run-metrics": _file("bayesian", "metrics.jsonl", DRAWN, text=True),
    "run-history": _file("bayesian", "history.npz", DRAWN),
    "run-predictions": _file("bayesian", "predictions.npz", DRAWN),
    "run-result": _file("bayesian", "result.json", ALL, text=True),
    "run-shipped-json": _file("bayesian", "checkpoints/shipped.json", (_load,), text=True),
    "run-shipped-tensors": _file("bayesian", "checkpoints/shipped-*.safetensors", (_load,)),
    "run-last-json": _file("halfway", "checkpoints/last.json", (_resume,), text=True),
    "run-last-tensors": _file("halfway", "checkpoints/last-*.safetensors", (_resume,)),
    "run-resumed-environment": _file("halfway", "environment.json", (_resume,), text=True),
    "run-resumed-split": _file("halfway", "split.npz", (_resume,)),
    "run-best-json": _file("best", "checkpoints/best.json", (_resume,), text=True),
    "run-best-tensors": _file("best", "checkpoints/best-*.safetensors", (_resume,)),
    "run-resumed-recipe": _file("halfway", "recipe.toml", (_resume,), text=True),
    "run-circuits-json": _file("circuits", "checkpoints/last.json", (_resume,), text=True),
    "run-circuits-tensors": _file("circuits", "checkpoints/last-*.safetensors", (_resume,)),
    "run-sweep": _file("relu", "sweep.json", (*DRAWN, _results), text=True),
    "run-spiking": _file("soft", "spiking.json", (*DRAWN, _results), text=True),
    "run-stream": _file("soft", "stream.json", (*DRAWN, _results), text=True),
    "run-relu-spiking": _file("relu", "relu_spiking.json", (*DRAWN, _results), text=True),
}
