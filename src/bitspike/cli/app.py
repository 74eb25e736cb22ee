"""The command line's frame: verbs, and one line with exit code 2 for a person's mistake."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import typer

from bitspike import plugins
from bitspike.cli import (
    compare,
    doctor,
    evaluate,
    events,
    federate,
    federate_apart,
    hybridise,
    init,
    predict,
    recipes,
    report,
    results,
    show,
    train,
    tune,
)
from bitspike.errors import BitspikeError, one_line
from bitspike.version import __version__


class _Verbs(typer.core.TyperGroup):
    """The verbs; `--plugins DIR` may stand behind them too. `federate serve` and `federate join` are of two words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first, rest = [], []
        given = iter(args)
        for word in given:
            if word == "--":
                rest += [word, *given]
            elif word == "--plugins":
                first += [word, *(value for value in [next(given, None)] if value is not None)]
            else:
                (first if word.startswith("--plugins=") else rest).append(word)
        if rest[:1] == ["federate"] and rest[1:2] in (["serve"], ["join"]):
            rest = [" ".join(rest[:2]), *rest[2:]]
        return super().parse_args(ctx, [*first, *rest])


app = typer.Typer(
    name="bitspike",
    cls=_Verbs,
    help="Train, calibrate and ship neural networks that compute with a few bits.",
    epilog="Example: bitspike train digits-st, then bitspike predict runs/digits-st picture.png",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for home in (
    recipes,
    init,
    train,
    federate,
    tune,
    evaluate,
    show,
    compare,
    report,
    predict,
    hybridise,
    results,
    events,
    doctor,
):
    app.command(epilog=home.EXAMPLE)(getattr(home, home.__name__.rpartition(".")[2]))
app.command("federate serve", epilog=federate_apart.SERVE_EXAMPLE)(federate_apart.serve)
app.command("federate join", epilog=federate_apart.JOIN_EXAMPLE)(federate_apart.join)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
    own: list[Path] = typer.Option(
        [], "--plugins", help="Folder of own .py files (neurons, learners, ...); also BITSPIKE_PLUGINS. Repeatable."
    ),
) -> None:
    for folder in own:
        plugins.add(folder)
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> NoReturn:
    """Run the command; the process ends here."""
    _streams()
    code = _run()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        code = _unwritable(error)
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            sys.stderr.flush()
    # What could not be written above would be tried again when Python ends.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.close()
    several = sys.modules.get("bitspike.run.several")
    if several is not None:
        several.leave(code)
    sys.exit(code)


def _run() -> int:
    """The exit code: 0, 2 for a mistake (one line is said), 128 + N for signal N, 1 for a reader that went away."""
    from bitspike import notices
    from bitspike.run.signals import Handled, Stopped, stop

    notices.always = True
    try:
        with Handled(stop):
            code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except BitspikeError as error:
        return _say(str(error))
    except Stopped as stopped:
        return _say("stopped", 128 + stopped.number)
    except (typer.Abort, KeyboardInterrupt):
        return _say("stopped", 130)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except RecursionError:
        return _say("got something nested too deeply, wanted what a person can read")
    except MemoryError as error:
        return _say(f"not enough memory{f' ({error})' if str(error) else ''}; nothing that was saved is lost")
    except OSError as error:
        # Of a file: one that a verb did not expect to fail. Without a name: standard output's.
        if error.filename is None:
            return _unwritable(error)
        return _say(f"'{os.fsdecode(error.filename)}': {error.strerror}")
    except Exception as error:
        # Mistakes on the command line itself; typer keeps their class in a module of its own that moves.
        if not hasattr(error, "format_message"):
            if said := plugins.blamed(error):
                return _say(said)
            raise
        return _say(f"{error.format_message()} (see bitspike --help)")


def _say(message: str, code: int = 2) -> int:
    """One line on standard error, if somebody reads it."""
    with contextlib.suppress(OSError, ValueError):
        typer.echo(f"bitspike: {one_line(message)}", err=True)
    return code


def _unwritable(error: OSError) -> int:
    """Standard output takes no more: said in one line, but for a reader that went away (`| head`)."""
    # Whatever is still in the buffer goes nowhere, also when Python closes the stream.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 1
    return _say(f"standard output: {error.strerror or error}; nothing that was saved is lost")


def _streams() -> None:
    """Closed standard streams become /dev/null: the next file opened would take their place and be written into.

    Names that a stream's encoding lacks are written with escapes.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, mode))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
