"""The command line's frame: verbs, and one line with exit code 2 for a person's mistake."""

from __future__ import annotations

import os
import sys

import typer

from bitspike.cli import compare, doctor, evaluate, hybridise, init, predict, recipes, report, results, train
from bitspike.errors import BitspikeError

app = typer.Typer(
    name="bitspike",
    help="Train, calibrate and ship neural networks that compute with a few bits.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (recipes, init, train, evaluate, compare, report, predict, hybridise, results, doctor):
    verb.register(app)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version and stop.")
) -> None:
    if version:
        import bitspike

        typer.echo(bitspike.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command; the process ends here."""
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except BitspikeError as error:
        # Of several processes the first one speaks.
        if os.environ.get("LOCAL_RANK", "0") == "0":
            typer.echo(f"bitspike: {error}", err=True)
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        # Mistakes on the command line itself; typer keeps their class in a module of its own that moves.
        if not hasattr(error, "format_message"):
            raise
        typer.echo(f"bitspike: {' '.join(error.format_message().split())} (see bitspike --help)", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("bitspike: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe went away (`| head`): nothing more to say, also not while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
