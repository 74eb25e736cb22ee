"""Every command that README and docs show has the verbs, options and settings that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from bitspike.cli.app import app
from bitspike.run.recipe_files import load_recipe, recipe_names

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHORT = {"--population": "population.size", "--strategy": "population.strategy"}


def commands(page: Path) -> Iterator[list[str]]:
    """Words of each `bitspike ...` line in fences, joined where a backslash ends it."""
    for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"\s*(\$ )?bitspike [a-z]", line) and "=>" not in line:
                yield shlex.split(line.strip().removeprefix("$ "), comments=True)[1:]


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Verb and parameters, as the command line reads them."""
    group: Any = typer.main.get_command(app)
    verb = words[0]
    if " ".join(words[:2]) in group.commands:  # of two words
        verb = " ".join(words[:2])
    command = group.commands[verb]
    context = command.make_context(verb, list(words[len(verb.split()) :]))
    return verb, context.params


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_shown_commands_are_understood(page: Path) -> None:
    for words in commands(page):
        verb, given = parsed(words)
        recipe = given.get("recipe")
        if verb not in ("train", "federate", "tune") or recipe not in recipe_names():
            continue
        sets = [*given.get("sets", [])]
        sets += [f"{SHORT[f'--{name}']}={given[name]}" for name in ("population", "strategy") if given.get(name)]
        load_recipe(str(recipe), sets, None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_fenced_ends_where_a_line_says_so(page: Path) -> None:
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        assert line.startswith("```") or "```" not in line
        if line.startswith("```"):
            assert not fenced or line == "```"
            fenced = not fenced
    assert not fenced


def test_it_sees_commands() -> None:
    assert sum(len(list(commands(page))) for page in PAGES) > 50
