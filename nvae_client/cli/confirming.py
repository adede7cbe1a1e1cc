"""Questions before something is gone for good."""

import sys

import typer


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless that was answered already.

    Raises:
        typer.BadParameter: nobody is there to be asked.
        typer.Abort: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("say --yes: nobody is there to be asked", param_hint="--yes")
    typer.confirm(question, abort=True, err=True)
