"""Arguments and options that several commands have."""

from typing import Annotated

import typer

Context = typer.Context
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on stdout.")
]
Follow = Annotated[
    bool,
    typer.Option("--follow", "-f", help="Wait for the end; Ctrl-C detaches, the job goes on."),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job: job_…")]
CheckpointId = Annotated[str, typer.Argument(metavar="CKPT", help="Id of a checkpoint: ckpt_…")]
Dataset = Annotated[str, typer.Option("--dataset", "-d", help="Name or id of a data set.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        "-o",
        metavar="NAME=VALUE",
        help="Replace a field of the preset, as in -o optimization.epochs=200. Can be repeated.",
    ),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="NAME=VALUE",
        help="Set another field of the job: -s checkpoint.every_steps=100. Can be repeated.",
    ),
]
Name = Annotated[str | None, typer.Option("--name", "-n", help="Of the job, for people.")]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="KEY=VALUE", help="Tag the job. Can be repeated."),
]
Priority = Annotated[
    int | None,
    typer.Option("--priority", min=0, max=100, help="Higher comes first; 50 if not set."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Of the random numbers.")]
Nodes = Annotated[int | None, typer.Option("--nodes", min=1, help="How many nodes it takes.")]
Slots = Annotated[
    int | None,
    typer.Option("--slots", min=1, help="GPUs, or shares of the cores, on each node."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
