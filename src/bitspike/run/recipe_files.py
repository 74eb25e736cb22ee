"""Find, read, override and print recipes."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from pydantic import ValidationError

from bitspike.errors import BitspikeError, did_you_mean, refuse
from bitspike.paths import home, read_text
from bitspike.run.recipe import Recipe
from bitspike.run.unread import UnknownKey, Unread, taken, unread

# Tables within tables, and lists within lists.
DEEPEST = 32
# Keys of a table of which one stands in for the other.
INSTEAD = (
    ("training", "epochs", "updates"), ("optimizer", "lr", "lr_sum"), ("latent_optimizer", "lr", "lr_sum"),
    ("federation", "epochs", "updates"), ("federation", "epochs", "steps"), ("federation", "updates", "steps"),
    ("federation", "fraction", "participants"),
)  # fmt: skip


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("bitspike") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """The text of a recipe: one that comes with the package, by name, or a TOML file, by path."""
    if name.endswith(".toml") or "/" in name:
        return read_text(home(name, "recipe"), "recipe", "a TOML file")
    if name not in recipe_names():
        hint = did_you_mean(name, recipe_names())
        refuse("recipe", f"'{name}'", f"a path to a .toml file or a name that `bitspike recipes` lists{hint}")
    return (resources.files("bitspike") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")


def load_recipe(name: str, overrides: Iterable[str] = (), seed: int | None = None) -> Recipe:
    """Read recipe `name` (see `recipe_text`), apply "a.b=value" overrides and a seed, and check it."""
    return parse_recipe(recipe_text(name), f"recipe '{name}'", overrides, seed)


def parse_recipe(
    text: str, source: str, overrides: Iterable[str] = (), seed: int | None = None, stored: bool = False
) -> Recipe:
    """A checked recipe from TOML text; `source` names it in errors. stored: it came with a run, read or not.

    A key that nothing reads is refused, but one that the text's own choices read gives way to an override of these:
    weights.precision=full leaves nothing of the text's other weight keys.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BitspikeError(f"{source}: not valid TOML ({_reason(error)})") from None
    overrides = list(overrides)
    _make_way(data, overrides)
    for override in overrides:
        _override(data, override)
    if seed is not None:
        data["seed"] = seed
    check_depth(data, source)
    try:
        recipe, found = _read(data)
        if not stored and overrides and _drop(data, text, found, overrides):
            recipe, found = _read(data)
    except ValidationError as error:
        raise BitspikeError(f"{source}: {_explain(error)}") from None
    except UnknownKey as error:
        raise BitspikeError(f"{source}: {error}") from None
    if found and not stored:
        refuse(found[0].path, f"{found[0].value!r} with {found[0].why}", "it left out")
    return recipe


def _read(data: dict[str, Any]) -> tuple[Recipe, list[Unread]]:
    """The recipe of plain data, and what is set there and read by nobody."""
    data, foreign = taken(data)
    recipe = Recipe.model_validate(data)
    return recipe, [*foreign, *unread(recipe)]


def _drop(data: dict[str, Any], text: str, found: list[Unread], overrides: list[str]) -> bool:
    """Take out of `data` what `text` alone has a reader for and overrides leave without; whether there was any."""
    given = [override.partition("=")[0].strip() for override in overrides]

    def asked(path: str) -> bool:
        return any(f"{g}.".startswith(f"{path}.") or path.startswith(f"{g}.") for g in given)

    paths = {entry.path for entry in found if not asked(entry.path)}
    with contextlib.suppress(ValidationError, UnknownKey):
        paths -= {entry.path for entry in _read(tomllib.loads(text))[1]} if paths else set()
    for path in paths:
        *tables, key = path.split(".")
        table: Any = data
        for name in tables:
            table = table[name]
        del table[key]
    return bool(paths)


def print_recipe(recipe: Recipe) -> str:
    """The resolved recipe as TOML."""
    import tomli_w

    return tomli_w.dumps(recipe.resolved())


def _make_way(data: dict[str, Any], overrides: list[str]) -> None:
    """Of two keys that stand in for each other, the one in the file gives way to an override of the other."""
    given = [text.partition("=")[0].strip() for text in overrides]
    for table, *pair in INSTEAD:
        for key, other in (pair, reversed(pair)):
            if f"{table}.{key}" in given and f"{table}.{other}" not in given and isinstance(data.get(table), dict):
                data[table].pop(other, None)


def _override(data: dict[str, Any], text: str) -> None:
    """Apply "a.b=value": the value is TOML, or else a plain string."""
    try:
        text.encode()
    except UnicodeEncodeError:
        refuse("--set", repr(text), "UTF-8 text")
    path, separator, value = text.partition("=")
    keys = _keys(path.strip(), text)
    if len(keys) > DEEPEST:
        refuse("--set", repr(text), f"a key of at most {DEEPEST} parts")
    if keys[:2] == ["population", "space"] and len(keys) > 4:
        quoted = f'population.space."{".".join(keys[2:-1])}".{keys[-1]}'
        refuse("--set", repr(text), f"the hyperparameter in quotes: {quoted}")
    if not separator or not all(keys):
        refuse("--set", repr(text), "KEY=VALUE, such as training.epochs=5")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except RecursionError:
        refuse("--set", repr(text), f"a value nested at most {DEEPEST} deep")
    except ValueError:
        # A whole number too long for Python is no text either.
        if value.strip().lstrip("+-").replace("_", "").isdecimal():
            refuse("--set", repr(text), "a number of fewer digits")
        parsed = value
    table = data
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            refuse("--set", repr(text), f"a table at '{key}', which is a value")
    table[keys[-1]] = parsed


def _keys(path: str, text: str) -> list[str]:
    """The keys of a path; one in quotes may hold dots: population.space."optimizer.lr".high."""
    if '"' not in path and "'" not in path:
        return path.split(".")
    try:
        table = tomllib.loads(f"{path} = 0")
    except ValueError:
        refuse("--set", repr(text), 'a key with whole quotes, such as population.space."optimizer.lr".high=0.1')
    keys = []
    while isinstance(table, dict) and len(table) == 1:
        (key,) = table
        keys.append(key)
        table = table[key]
    return keys


def options_of(texts: Iterable[str]) -> dict[str, Any]:
    """Options from "key=value", each value TOML or else a plain string."""
    found: dict[str, Any] = {}
    for text in texts:
        _override(found, text)
    return found


def _explain(error: ValidationError) -> str:
    """The first problem as one line: path, what came, what was wanted."""
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"'{path}' is missing"
    if problem["type"] == "unknown_name":
        return f"{path}: got {problem['input']!r}, wanted {problem['msg']}"
    if problem["type"] == "value_error" and isinstance(problem["input"], Mapping):
        # Two keys that do not go together: the message names both.
        return f"{path}: {problem['msg'].removeprefix('Value error, ')}"
    came = problem["input"] if not isinstance(problem["input"], Mapping) else "a table"
    return " ".join(f"{path}: got {came!r}, {problem['msg'][0].lower()}{problem['msg'][1:]}".split())


def check_depth(data: Any, source: str) -> None:
    """Refuse tables and lists nested deeper than DEEPEST, before anything walks them by recursion."""
    level = [data]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)
                 if isinstance(inner, dict | list)]  # fmt: skip
    if level:
        raise BitspikeError(f"{source}: nested more than {DEEPEST} deep, wanted what a person can read")


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
