"""The page of a run: self-contained, complete, escaped, and honest about broken files."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from bitspike.errors import BitspikeError
from bitspike.reports import report

MakeRun = Callable[..., Path]
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Tags with their attributes, visible text, ids, and a check that every tag is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.ids, self.open = "", [], []  # type: ignore[var-annotated]
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(run: Path) -> Page:
    return Page(report(run).read_text(encoding="utf-8"))


def figures_of(page: Page) -> list[str | None]:
    return [attrs.get("id") for tag, attrs in page.tags if tag == "figure"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, write: MakeRun) -> Path:
    """The report of a complete run, written once."""
    return report(write(tmp_path_factory.mktemp("whole") / "run"))


def test_page_needs_nothing_from_outside(whole: Path) -> None:
    path = whole
    page = Page(path.read_text(encoding="utf-8"))
    assert path.name == "report.html"
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []
    assert page.open == []
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    links = [v for _, a in page.tags for n, v in a.items() if n in ("src", "href", "xlink:href") and v]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "http" not in re.sub(r'base64,[^"]*', "", path.read_text(encoding="utf-8"))


def test_ids_are_unique_and_references_resolve(whole: Path) -> None:
    text = whole.read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    references = set(re.findall(r"url\(#([^)]*)\)", text)) | set(re.findall(r'href="#([^"]*)"', text))
    assert references
    assert references <= set(page.ids)


def test_a_complete_run_shows_every_figure_and_number(whole: Path) -> None:
    page = Page(whole.read_text(encoding="utf-8"))
    assert figures_of(page) == ["learning", "reliability", "time", "plane", "raster", "weights", "confusion"]
    text = page.text.replace("\u202f", " ")
    for shown in ("91.2 %", "91.23 %", "89.01 %", "87.65 %", "0.2568", "0.1357", "0.0468", "0.0234", "81,920", "1.75"):
        assert shown in text
    for shown in ("589 nJ", "1.84 µJ", "1.89 times more", "analytic, not measured", "4.6 pJ per MAC", "1 min 33 s"):
        assert shown in text
    for shown in (
        "subset 60/20",
        'precision = "bayesian"',
        "ab" * 32,
        "layers.0.weight",
        "hidden <1>",
        "777 nJ",
        "epoch 2",
    ):
        assert shown in text


@pytest.mark.parametrize(
    ("answers", "said", "wanted"),
    [
        (50, 0.9, "When it says about 90 % it is right 92 % of the time."),
        (50, 0.88, "When it says about 88 % it is right 92 % of the time."),
        (50, 0.94, "On average it says 94.0 % and is right 92.0 % of the time."),  # a wide bin's
        (19, 0.9, "On average it says 90.0 % and is right 92.0 % of the time."),
    ],
)
def test_summary_says_it_in_words(make_run: MakeRun, answers: int, said: float, wanted: str) -> None:
    run = make_run()
    for name in ("predictions.npz", "history.npz", "metrics.jsonl"):
        (run / name).unlink()
    count, accuracy, confidence = [0] * 15, [0.0] * 15, [0.0] * 15
    count[13], accuracy[13], confidence[13] = answers, 0.92, said
    bins = {"edges": [k / 15 for k in range(16)], "count": count, "accuracy": accuracy, "confidence": confidence}
    (run / "result.json").write_text(json.dumps({"test": {"accuracy": 0.912}, "reliability": bins}))
    text = page_of(run).text.replace("\u202f", " ")
    first = "A spiking network with ±1 weights, 10 draws from a learnt distribution: 91.2 % correct on 60 unseen"
    assert f"{first} examples of digits. {wanted}" in text


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"kind": "feedforward", "neuron": {"kind": "relu"}}, "A network of relu units with real-valued weights: 91"),
        ({"kind": "gru"}, "A GRU with real-valued weights: 91.2 %"),
        ({"kind": "lmu", "hybrid": {"hidden_limit": 1}}, "A Legendre memory unit that sends whole numbers with real"),
        ({"kind": "feedforward", "neuron": {"kind": "lif"}}, "A spiking network with real-valued weights: 91.2 %"),
    ],
)
def test_summary_names_the_network(make_run: MakeRun, changes: dict[str, object], wanted: str) -> None:
    run = make_run()
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    recipe["weights"] = {"precision": "full"}
    recipe["model"] = changes
    (run / "recipe.toml").write_text(tomli_w.dumps(recipe))
    assert wanted in page_of(run).text.replace("\u202f", " ")


def test_a_network_that_does_not_spike_has_no_section_of_spikes(make_run: MakeRun) -> None:
    run = make_run()
    with np.load(run / "predictions.npz") as stored:
        kept = {key: stored[key] for key in stored.files if key != "raster_1"}
    np.savez(run / "predictions.npz", **kept)
    result = json.loads((run / "result.json").read_text())
    result["bits"] |= {"spikes_per_neuron": 0.0, "average": 0.0}
    (run / "result.json").write_text(json.dumps(result))
    page = page_of(run)
    assert figures_of(page) == ["learning", "reliability", "time", "plane", "weights", "confusion"]
    assert "Spikes per neuron" not in page.text


def packed(page: Page) -> str:
    """The text without spaces: cells of a table have none between them."""
    return "".join(page.text.split())


def test_energy_has_its_opponent_its_devices_and_where_it_stops_winning(whole: Path) -> None:
    text = packed(Page(whole.read_text(encoding="utf-8")))
    for shown in (
        "4.9 times more than without spikes at the same bits, zeros skipped",
        "the same, zeros skipped without spikes 612 nJ 125 nJ",
        "one that skips products with a zero costs less: spikes do not win",
        "one answer this network same bits, no spikes float32, no spikes",
        "additions on spikes (AC) 654 k 346 k 0 1.89 times more",
        "45 nm, arithmetic 589 nJ 311 nJ 1.64 0.866 1.89 times more",
        "45 nm, arithmetic and neurons 612 nJ 313 nJ 1.64 at no rate, not even 0 1.96 times more",
        # Of a device of spikes, that against the cheapest without.
        "loihi; the opponent on gpu 17.7 µJ 122 µJ 1.64 11.3 6.89 times less",
        "cpu without spikes, once 8.60 nJ",
        "loihi its spikes 27.1 pJ 81.0 pJ 17.7 µJ",
        "activations of 2.5 bits on average",
    ):
        assert shown.replace(" ", "") in text
    assert "opponentoncpu" not in text


def test_a_network_without_spikes_has_no_rows_of_them(make_run: MakeRun) -> None:
    run = make_run()
    result = json.loads((run / "result.json").read_text())
    result["bits"] |= {"average": 0.0, "significant": 0.0, "spikes_per_neuron": 0.0}
    result["energy"]["devices"]["loihi"] |= {"joules": None, "joules_synops": None}
    (run / "result.json").write_text(json.dumps(result))
    text = packed(Page(report(run).read_text(encoding="utf-8")))
    assert "anactivation32bits:realnumbers" in text
    assert "perneuronandpresentation" not in text
    assert "loihiitsspikes" not in text
    assert "cpuwithoutspikes" in text


def test_a_result_of_before_the_opponent_still_has_its_table(make_run: MakeRun) -> None:
    run = make_run()
    result = json.loads((run / "result.json").read_text())
    for key in ("opponent", "devices", "cross_over"):
        del result["energy"][key]
    (run / "result.json").write_text(json.dumps(result))
    text = packed(page_of(run))
    assert "energy,computeonly589nJ1.84µJ3.12timesless" in text
    assert "Howfewspikes" not in text
    assert "Ondevices" not in text


def test_accounts_of_a_run_as_spikes_stand_below_that_of_the_run(make_run: MakeRun) -> None:
    run = make_run()
    energy = json.loads((run / "result.json").read_text())["energy"]
    for name in ("spiking.json", "relu_spiking.json"):
        (run / name).write_text(json.dumps({"energy": energy}))
    page = page_of(run)
    assert page.text.count("How few spikes it would take") == 3
    assert "As trained" in page.text
    assert "As spikes whose rates are its activations" in page.text
    assert "spiking.json, relu_spiking.json" in page.text


PARTS = {
    "metrics.jsonl": ["learning"],
    "history.npz": ["weights"],
    "predictions.npz": ["plane", "raster"],
    "result.json": ["reliability", "time", "confusion"],
    "environment.json": [],
    "recipe.toml": [],
}


@pytest.mark.parametrize("kept", PARTS)
def test_each_file_alone_brings_its_own_figures(make_run: MakeRun, kept: str) -> None:
    run = make_run()
    for name in set(PARTS) - {kept}:
        (run / name).unlink()
    if kept not in ("metrics.jsonl", "result.json"):
        (run / "result.json").write_text("{}")
    assert figures_of(page_of(run)) == PARTS[kept]


def test_a_missing_result_drops_its_section(make_run: MakeRun, whole: Path) -> None:
    run = make_run()
    for name in ("history.npz", "metrics.jsonl", "predictions.npz"):
        (run / name).unlink()
    result = json.loads((run / "result.json").read_text())
    result = {key: result[key] for key in ("epochs", "seconds", "confusion")}
    (run / "result.json").write_text(json.dumps(result))
    before, after = Page(whole.read_text(encoding="utf-8")).text, page_of(run).text
    for heading in ("Energy", "Bits", "As shipped, ECE", "Readings", "Weights to ship"):
        assert heading in before
        assert heading not in after


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        ({"kept_epoch": 2}, "epoch 2, the one that was kept."),
        ({"kept_epoch": 3}, None),
        ({"kept_epoch": 3, "best_epoch": 1}, "epoch 1, the best on validation."),
    ],
)
def test_the_epoch_that_was_kept_is_marked(make_run: MakeRun, epochs: dict[str, int], said: str | None) -> None:
    run = make_run()
    for name in ("predictions.npz", "history.npz"):
        (run / name).unlink()
    (run / "result.json").write_text(json.dumps(epochs))
    text = page_of(run).text
    assert ("dotted line" in text) == (said is not None)
    assert said is None or said in text


def test_an_empty_result_and_unfinished_run_still_make_a_page(make_run: MakeRun) -> None:
    run = make_run()
    for name in ("predictions.npz", "history.npz", "environment.json", "recipe.toml"):
        (run / name).unlink()
    (run / "result.json").write_text('{"test": {"accuracy": null, "nll": NaN}, "energy": null, "confusion": []}')
    assert "<nan" not in page_of(run).text
    (run / "result.json").unlink()
    assert "trained for 3 epochs and not tested yet" in page_of(run).text


def test_regression_has_its_own_pictures(make_run: MakeRun) -> None:
    page = page_of(make_run(kind="regression"))
    assert figures_of(page) == ["learning", "time", "regression", "weights"]
    text = page.text.replace("\u202f", " ")
    assert "a root-mean-square error of 0.0512 on 60 unseen examples" in text
    assert "−0.7654" in text
    assert "accuracy" not in text.lower()


def test_regression_in_more_dimensions(make_run: MakeRun) -> None:
    run = make_run(kind="regression")
    prediction, targets = np.ones((4, 60, 4)), np.linspace(0, 1, 120).reshape(60, 2)
    np.savez(run / "predictions.npz", prediction=prediction, targets=targets, inputs=np.ones((60, 3)))
    text = page_of(run).text
    assert "Output 1" in text
    assert "Output 2" in text


def test_text_of_files_is_escaped(make_run: MakeRun) -> None:
    nasty = "<script>&\"'$x_"
    run = make_run(classes=[nasty, "c" * 300, "漢字"])
    for name in ("history.npz", "metrics.jsonl"):
        (run / name).unlink()
    (run / "recipe.toml").write_text("name = '<b>bold</b>'\n# </pre><script>\n")
    page = page_of(run)
    assert "script" not in {tag for tag, _ in page.tags}
    assert sum(tag == "b" for tag, _ in page.tags) == len(figures_of(page))
    assert nasty in page.text
    assert "<b>bold</b>" in page.text
    assert page.open == []


@pytest.mark.parametrize("name", ["result.json", "environment.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", ['{"test": ', "[1, 2]", "\xff"])
def test_broken_json_is_named(make_run: MakeRun, name: str, content: str) -> None:
    run = make_run()
    (run / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(BitspikeError, match=re.escape(str(run / name))) as caught:
        report(run)
    assert "\n" not in str(caught.value)
    assert not (run / "report.html").exists()


def test_broken_json_message_is_exact(make_run: MakeRun) -> None:
    run = make_run()
    (run / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": \n')
    with pytest.raises(BitspikeError) as caught:
        report(run)
    where = f"{run / 'metrics.jsonl'} line 2"
    assert str(caught.value) == f"{where}: got broken JSON (Expecting value, column 11), wanted one JSON object"


@pytest.mark.parametrize("name", ["predictions.npz", "history.npz"])
@pytest.mark.parametrize("keep", [0, 10, 400])
def test_cut_archives_are_named(make_run: MakeRun, name: str, keep: int) -> None:
    run = make_run()
    (run / name).write_bytes((run / name).read_bytes()[:keep])
    with pytest.raises(BitspikeError, match=re.escape(f"{run / name}: got a broken archive")):
        report(run)


def test_pickled_arrays_are_refused(make_run: MakeRun) -> None:
    run = make_run()
    np.savez(run / "history.npz", epochs=np.array([{"a": 1}], dtype=object))
    with pytest.raises(BitspikeError, match="broken archive"):
        report(run)


def test_arrays_that_do_not_fit_are_refused(make_run: MakeRun) -> None:
    run = make_run()
    for name in ("predictions.npz", "metrics.jsonl"):
        (run / name).unlink()
    (run / "result.json").write_text("{}")
    np.savez(run / "history.npz", epochs=np.arange(3), edges=np.linspace(0, 1, 5), **{"counts/w": np.ones((3, 9))})
    with pytest.raises(BitspikeError, match=re.escape("counts/w: got shape (3, 9), wanted (3, 4)")):
        report(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BitspikeError, match=r"without result\.json or metrics\.jsonl, wanted a folder written by"):
        report(tmp_path)
    with pytest.raises(BitspikeError, match="wanted a folder written by `bitspike train`"):
        report(tmp_path / "nowhere")


def test_the_same_run_gives_the_same_page_and_matplotlib_is_left_as_it_was(make_run: MakeRun) -> None:
    import matplotlib

    run, settings = make_run(), dict(matplotlib.rcParams)
    (run / "result.json").unlink()
    first = report(run).read_bytes()
    assert report(run).read_bytes() == first
    assert dict(matplotlib.rcParams) == settings
