"""`nvae evaluate` and `nvae analyze`."""

from pathlib import Path
from typing import Annotated

import typer

from nvae_client.cli import options
from nvae_client.cli.connecting import Session, connected
from nvae_client.cli.following import follow_job, submit, submitted
from nvae_client.cli.saving import save_artifacts
from nvae_client.cli.showing.tables import pairs_table
from nvae_client.cli.specs import build_spec


def evaluate(
    context: options.Context,
    *,
    checkpoint: options.CheckpointId,
    dataset: options.Dataset,
    split: Annotated[str | None, typer.Option(help="train, validation or test.")] = None,
    importance_samples: Annotated[
        int | None, typer.Option("--importance-samples", min=1, help="1000; 1 is the ELBO alone.")
    ] = None,
    num_images: Annotated[int | None, typer.Option("--num-images", min=1, help="All.")] = None,
    name: options.Name = None,
    nodes: options.Nodes = None,
    slots: options.Slots = None,
    seed: options.Seed = None,
    fields: options.Fields = None,
    follow: options.Follow = False,
    as_json: options.AsJson = False,
) -> None:
    """Estimate the likelihood of a checkpoint on held-out images."""
    spec = build_spec(
        {
            "kind": "evaluate",
            "checkpoint": checkpoint,
            "dataset": dataset,
            "split": split,
            "importance_samples": importance_samples,
            "num_images": num_images,
            "name": name,
            "seed": seed,
        },
        resources={"nodes": nodes, "slots": slots},
        fields=fields,
    )
    with connected(context, as_json) as session:
        job = submit(session, spec)
        if not follow:
            submitted(session, job, follow=False)
            return
        ended = follow_job(session, job)
        session.terminal.result(ended, pairs_table({"job": ended.id, **(ended.result or {})}))


def analyze(
    context: options.Context,
    *,
    analysis: Annotated[
        str,
        typer.Argument(
            metavar="ANALYSIS",
            help="nearest_images, reconstructions, interpolation, temperature_table, "
            "scale_traversal; of jobs: training_curves, active_channels.",
        ),
    ],
    subjects: Annotated[
        list[str], typer.Argument(metavar="CKPT|JOB", help="A checkpoint, or jobs.")
    ],
    dataset: Annotated[str | None, typer.Option("--dataset", "-d")] = None,
    name: options.Name = None,
    seed: options.Seed = None,
    fields: options.Fields = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Wait, and download what comes out to this folder."),
    ] = None,
    follow: options.Follow = False,
    as_json: options.AsJson = False,
) -> None:
    """Look inside a checkpoint, or compare jobs: the experiments of the paper's appendix."""
    of_jobs = subjects[0].startswith("job_")
    if not of_jobs and len(subjects) > 1:
        raise typer.BadParameter("one checkpoint, or several jobs", param_hint="CKPT")
    subject = {"jobs": subjects} if of_jobs else {"checkpoint": subjects[0]}
    given = {"analysis": analysis, "dataset": dataset, "name": name, "seed": seed}
    spec = build_spec({"kind": "analyze", **given, **subject}, fields=fields)
    with connected(context, as_json) as session:
        job = submit(session, spec)
        if output is None:
            submitted(session, job, follow=follow)
            return
        ended = follow_job(session, job)
        _save(session, ended.id, save_artifacts(session, ended.artifacts(), _folder(output)))


def _folder(output: Path) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    return output


def _save(session: Session, job_id: str, paths: list[Path]) -> None:
    session.terminal.result(
        {"job": job_id, "files": [str(path) for path in paths]},
        "\n".join(str(path) for path in paths),
    )
