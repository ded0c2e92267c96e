"""The command line: parse, call, render. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from shutil import get_terminal_size
from typing import Annotated

import typer

from labelattack.cli._console import EXIT_BUG, EXIT_ERROR, say
from labelattack.cli.attack import attack
from labelattack.cli.audit import audit
from labelattack.cli.bench import bench
from labelattack.cli.cards import cards
from labelattack.cli.check import check
from labelattack.cli.cite import cite
from labelattack.cli.compare import compare
from labelattack.cli.config import config
from labelattack.cli.data import data
from labelattack.cli.doctor import doctor
from labelattack.cli.list import list_
from labelattack.cli.plot import plot
from labelattack.cli.report import report
from labelattack.cli.reproduce import reproduce
from labelattack.cli.score import score
from labelattack.cli.show import show
from labelattack.cli.store import store
from labelattack.errors import LabelAttackError, ParameterError
from labelattack.files.storage import expanded
from labelattack.terminal import prepare_streams, start_log

_FRAMED = 120  # columns that help in frames needs

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point: every error becomes one line and an exit code."""
    prepare_streams()
    debug = "--debug" in sys.argv
    arguments = [_at_home(argument) for argument in sys.argv[1:] if argument != "--debug"]
    # Where there is no room for typer's frames it would cut options and examples.
    app.rich_markup_mode = "markdown" if get_terminal_size().columns >= _FRAMED else None
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    try:
        app(arguments, prog_name="labelattack")
    except LabelAttackError as error:
        if debug:
            raise
        say(f"error: {error}")
        sys.exit(EXIT_ERROR)
    except (OSError, MemoryError) as error:  # the machine's no, not a bug
        if debug:
            raise
        say(f"error: {LabelAttackError(f'{type(error).__name__}: {error}')}")
        sys.exit(EXIT_ERROR)
    except Exception as error:
        if debug:
            raise
        say(f"internal error: {type(error).__name__}: {error} (--debug shows where)")
        sys.exit(EXIT_BUG)


def _at_home(argument: str) -> str:
    """``~/x`` or ``--option=~/x`` with the home folder, which not every caller puts in."""
    found = re.fullmatch(r"(--[^=]+=)?(~/.*)", argument, re.DOTALL)
    return f"{found[1] or ''}{expanded(found[2])}" if found else argument


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("labelattack"))
        raise typer.Exit


def _level(verbose: int, quiet: bool) -> int:
    """Least level of the log that is shown."""
    if quiet and verbose:
        raise ParameterError("one of --verbose and --quiet must be given, got both")
    if quiet:
        return logging.ERROR
    return {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)


@app.callback()
def about(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "-V", "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "-v", "--verbose", count=True, help="Say what is decided on the way; -vv says more."
        ),
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Say nothing of warnings, errors only.")
    ] = False,
) -> None:
    """Measures what remains of a multi-label classifier when training labels disappear.

    Crosses **attacks** (which labels go) with **defenses** (which loss learns from the rest) and
    reports test mAP against a reference that saw every known label.

    Try it, with no download:

        labelattack bench --attack targeted --defense pseudo-history --defense an

    Errors exit with 2 and one line; --debug adds the traceback.
    """
    context.call_on_close(start_log(_level(verbose, quiet), say))
    if quiet:
        warnings.showwarning = lambda *_, **__: None


app.command()(bench)
app.command()(config)
app.command()(score)
app.command()(attack)
app.command()(audit)
app.command("list")(list_)
app.command()(show)
app.command()(plot)
app.command()(report)
app.command()(check)
app.command()(compare)
app.command()(cards)
app.command()(cite)
app.command()(doctor)
app.command()(reproduce)
app.add_typer(data, name="data")
app.add_typer(store, name="store")
