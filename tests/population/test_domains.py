"""The examples of other domains: each learns at all, in a budget of seconds, and goes on where it was stopped."""

from __future__ import annotations

import gzip
import importlib
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.states import same

EXAMPLES = Path(__file__).parents[2] / "examples" / "population"


@pytest.fixture
def example(monkeypatch):
    """An example by name, imported as its command is run."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def imported(name):
        found = importlib.import_module(name)
        for known in ("domain", name):
            monkeypatch.delitem(sys.modules, known)
        return found

    return imported


def goes_on_as_if_never_stopped(member, values, updates):
    key = ("member", 1)
    member.load(None, values, key)
    member.step(updates)
    state = member.save()
    member.step(1)
    end = member.save()
    member.load(state, values, key)
    member.step(1)
    return same(member.save(), end)


def images(count):
    """Bright squares, at one of four places: what a discriminator can tell from noise."""
    x = torch.zeros(count, 1, 28, 28)
    for row in range(count):
        top, left = 14 * (row % 2), 14 * (row // 2 % 2)
        x[row, :, top + 3 : top + 11, left + 3 : left + 11] = 1.0
    return x


def test_a_gan_learns_the_brightness_of_its_images_and_is_taken_up(example):
    gan = example("gan")
    painter = gan.Painter(images(64), None, 0)
    values = {"lr_generator": 2e-3, "lr_discriminator": 1e-3}
    assert goes_on_as_if_never_stopped(painter, values, 2)
    painter.load(None, values, ("member", 0))
    before = float(painter.paint(50, "before").mean())
    painter.step(25)
    after = float(painter.paint(50, "before").mean())
    truth = float(painter.images.mean())
    assert abs(after - truth) < 0.5 * abs(before - truth)


def test_the_score_is_ten_where_every_image_is_a_digit_of_its_own_and_one_where_none_is(example):
    certain, painter = torch.eye(10).repeat(3, 1), example("gan").Painter(images(4), SimpleNamespace(), 0)
    for answers, score in ((certain, 10.0), (torch.full((30, 10), 0.1), 1.0), (certain[:1].repeat(30, 1), 1.0)):
        painter.classifier.predict = lambda images, scaled, answers=answers: answers
        assert painter.score(images(1)) == pytest.approx(score)


@pytest.mark.long
def test_a_spiking_policy_learns_to_balance_and_a_command_goes_on(example, tmp_path):
    pytest.importorskip("gymnasium")
    cartpole = example("cartpole")
    player = cartpole.Player("CartPole-v1", 0)
    values = {"lr": 2e-3, "entropy": 0.01, "tau": 3.0}
    assert goes_on_as_if_never_stopped(player, values, 1)
    player.load(None, values, ("member", 0))
    before = player.measure()
    player.step(8)
    assert player.measure() > before + 60
    asked = {"strategy": "population", "out": tmp_path, "population": 2, "updates": 2, "every": 1, "seed": 0}
    found = cartpole.evolved(player, cartpole.SPACE, SimpleNamespace(**asked))
    again = cartpole.evolved(player, cartpole.SPACE, SimpleNamespace(**asked))
    assert again | {"seconds": 0} == found | {"seconds": 0}
    with pytest.raises(SystemExit, match="another folder"):
        cartpole.evolved(player, cartpole.SPACE, SimpleNamespace(**asked | {"updates": 3}))


@pytest.mark.long
def test_a_transformer_learns_to_translate_a_few_sentences(example, tmp_path):
    pytest.importorskip("sacrebleu")
    pytest.importorskip("sentencepiece")
    words = (("der", "the"), ("ein", "a")), (("rote", "red"), ("blaue", "blue")), (("hund", "dog"), ("ball", "ball"))
    pairs = [tuple(map(" ".join, zip(*chosen, strict=True))) for chosen in itertools.product(*words)]
    for part in ("train", "val", "test_2016_flickr"):
        for side, language in enumerate(("de", "en")):
            with gzip.open(tmp_path / f"{part}.{language}.gz", "wt") as file:
                file.write("\n".join(f"{pair[side]} und {other[side]}" for pair in pairs for other in pairs))
    translation = example("translation")
    member = translation.Translator(tmp_path, 0, vocabulary=40)
    values = {"lr": 3e-3, "dropout": 0.0, "smoothing": 0.0}
    assert goes_on_as_if_never_stopped(member, values, 2)
    member.load(None, values, ("member", 0))
    before = member.measure()
    member.step(150)
    assert member.measure() > max(30.0, before + 20)
    found = [
        {"begin": 0, "end": 2, "member": 0, "values": values},
        {"begin": 2, "end": 4, "member": 1, "values": values},
    ]
    assert [at for at, _ in translation.replayed(member, found, 20)] == list(range(2, 21, 2))
