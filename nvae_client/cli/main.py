"""The commands together, and the way in."""

from importlib.metadata import version
from typing import Annotated

import typer

from nvae_client._transport import DEFAULT_URL, KEY_VARIABLE, URL_VARIABLE
from nvae_client.cli import admin, files, jobs, submit, watch

EPILOG = (
    "Exit codes: 0 succeeded, 1 failed, 2 usage, 3 cancelled, 4 the service refused, "
    "5 the service cannot be reached, 130 interrupted."
)

PACKAGE = "nvae-service"

app = typer.Typer(
    name="nvae",
    no_args_is_help=True,
    epilog=EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nvae {version(PACKAGE)}")
        raise typer.Exit


@app.callback()
def _choose_service(
    context: typer.Context,
    *,
    url: Annotated[
        str | None,
        typer.Option("--url", help=f"Of the service; else {URL_VARIABLE}, or {DEFAULT_URL}."),
    ] = None,
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_tell_version, is_eager=True
        ),
    ] = False,
) -> None:
    context.obj = url


_choose_service.__doc__ = (
    f"Train, evaluate and sample NVAE on a training service. The key is read from {KEY_VARIABLE}."
)

_PANELS = {
    "Work": (submit.train, submit.plan, submit.sample, submit.evaluate, submit.analyze),
    "Jobs": (
        *(jobs.jobs, jobs.show, watch.watch, jobs.logs, jobs.events, jobs.metrics),
        *(jobs.pause, jobs.resume, jobs.cancel, jobs.fork),
    ),
    "What there is": (admin.presets,),
}
_GROUPS = {
    "checkpoints": files.checkpoints_app,
    "datasets": files.datasets_app,
    "nodes": admin.nodes_app,
    "keys": admin.keys_app,
}

for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
for _name, _group in _GROUPS.items():
    app.add_typer(_group, name=_name, rich_help_panel="What there is")


def main() -> None:
    """Run the command that was typed."""
    app()


if __name__ == "__main__":
    main()
