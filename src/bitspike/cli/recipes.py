"""`bitspike recipes [NAME]`: what can be trained."""

from __future__ import annotations

import json

import typer

EXAMPLE = "Example: bitspike recipes digits-st --explain"


def recipes(
    name: str = typer.Argument("", help="Print this recipe; leave out to list all."),
    resolved: bool = typer.Option(False, "--resolved", help="Print it with every default filled in."),
    explain: bool = typer.Option(False, "--explain", help="Every key: type, default, value here, what it says."),
    as_json: bool = typer.Option(False, "--json", help="Machine-readable output."),
) -> None:
    """List the recipes, or print one."""
    from bitspike.errors import refuse
    from bitspike.run.recipe_files import load_recipe, print_recipe, recipe_names, recipe_text

    if explain and resolved:
        refuse("--resolved", "--explain as well", "one of the two")
    if (explain or resolved) and not name:
        refuse("--explain" if explain else "--resolved", "no recipe", "the name of one before it")
    if name:
        recipe = load_recipe(name)
        if explain:
            from bitspike.cli.explain import keys, printed

            rows = [key._asdict() for key in keys(recipe) if not key.table]
            typer.echo(json.dumps(rows, default=dict) if as_json else printed(recipe))
            return
        if as_json:
            typer.echo(json.dumps(recipe.resolved()))
        else:
            typer.echo(print_recipe(recipe) if resolved else recipe_text(name), nl=False)
        return
    found = [load_recipe(known) for known in recipe_names()]
    if as_json:
        typer.echo(json.dumps([{"name": recipe.name, "about": recipe.about} for recipe in found]))
        return
    width = max(len(recipe.name) for recipe in found)
    for recipe in found:
        typer.echo(f"{recipe.name:<{width}}  {recipe.about}")
