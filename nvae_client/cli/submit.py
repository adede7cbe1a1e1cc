"""`nvae train`, `plan`, `sample`, `evaluate`, `analyze`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nvae_client.cli import options
from nvae_client.cli.options import build_spec, parse_fields
from nvae_client.cli.output import pairs_table, show_bytes, show_count
from nvae_client.cli.progress import follow_job, save_artifacts, submit, submitted
from nvae_client.cli.session import REFUSED, Session, connected, leave, suggest
from nvae_client.models import Plan

Preset = Annotated[str, typer.Option("--preset", "-p", help="What to train; see nvae presets.")]


def train(
    context: options.Context,
    *,
    preset: Preset,
    dataset: options.Dataset,
    override: options.Overrides = None,
    name: options.Name = None,
    tag: options.Tags = None,
    priority: options.Priority = None,
    nodes: options.Nodes = None,
    slots: options.Slots = None,
    seed: options.Seed = None,
    fields: options.Fields = None,
    follow: options.Follow = False,
    as_json: options.AsJson = False,
) -> None:
    """Train a preset on a data set. Prints the job's id."""
    what = {"preset": preset, "dataset": dataset, "name": name, "priority": priority, "seed": seed}
    resources = {"nodes": nodes, "slots": slots}
    spec = _spec(what, override, tags=tag, resources=resources, fields=fields)
    with connected(context, as_json) as session:
        submitted(session, submit(session, spec), follow=follow)


def plan(
    context: options.Context,
    *,
    preset: Preset,
    dataset: options.Dataset,
    override: options.Overrides = None,
    nodes: options.Nodes = None,
    slots: options.Slots = None,
    fields: options.Fields = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what a training would take, and what is wrong with it, without submitting it."""
    resources = {"nodes": nodes, "slots": slots}
    spec = _spec(
        {"preset": preset, "dataset": dataset}, override, resources=resources, fields=fields
    )
    with connected(context, as_json) as session:
        job_plan = session.client.jobs.plan(spec)
        session.terminal.result(job_plan, pairs_table(_pairs(job_plan)))
        if not job_plan.valid:
            pointers = {problem.pointer: problem.message for problem in job_plan.problems}
            for pointer, message in pointers.items():
                session.terminal.note(f"{pointer}: {message}")
            for hint in suggest(session.client, spec, pointers):
                session.terminal.note(f"  {hint}")
            leave(REFUSED)


def _spec(what: dict[str, Any], override: list[str] | None, **options: Any) -> dict[str, Any]:
    overrides = parse_fields(override, "--override")
    return build_spec({"kind": "train", **what, "overrides": overrides}, **options)


def _pairs(plan: Plan) -> dict[str, str | int | None]:
    pairs: dict[str, str | int | None] = {
        "valid": "[green]yes[/]" if plan.valid else "[red]no[/]",
        "ranks": plan.num_ranks,
    }
    if training := plan.training:
        kept = training.num_checkpoints_kept
        pairs |= {
            "parameters": show_count(training.num_parameters),
            "steps": training.num_steps,
            "memory per rank": show_bytes(training.memory_bytes_per_rank),
            "checkpoint": f"{show_bytes(training.checkpoint_bytes)}, {kept} kept",
        }
    return pairs


def sample(
    context: options.Context,
    *,
    checkpoint: options.CheckpointId,
    temperature: Annotated[
        list[float] | None,
        typer.Option("--temperature", "-t", help="1.0; several: one grid for each."),
    ] = None,
    num_images: Annotated[int | None, typer.Option("--num-images", min=1, help="64.")] = None,
    batch_norm: Annotated[
        str | None, typer.Option("--batch-norm", help="running, or re-estimate.")
    ] = None,
    seed: options.Seed = None,
    fields: options.Fields = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture, or a folder for several.")
    ] = Path("grid.png"),
    as_json: options.AsJson = False,
) -> None:
    """Draw images from a checkpoint, as a grid. Prints where it is."""
    spec = build_spec(
        {
            "checkpoint": checkpoint,
            "temperature": temperature,
            "num_images": num_images,
            "batch_norm": batch_norm,
            "seed": seed,
        },
        fields=fields,
    )
    with connected(context, as_json) as session:
        job_id, paths = _draw(session, spec, output)
        _tell_files(session, job_id, paths)


def _draw(session: Session, spec: dict[str, Any], output: Path) -> tuple[str, list[Path]]:
    """Return the job's id and its pictures: at once if it is drawn soon, else when it is."""
    drawn = session.client.jobs.draw(spec)
    if drawn.picture is None:
        job = follow_job(session, session.client.jobs.get(drawn.job_id))
        return job.id, save_artifacts(session, job.pictures(), output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(drawn.picture)
    return drawn.job_id, [output]


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
        artifacts = ended.artifacts()
        output.mkdir(parents=True, exist_ok=True)
        _tell_files(session, ended.id, save_artifacts(session, artifacts, output))


def _tell_files(session: Session, job_id: str, paths: list[Path]) -> None:
    files = [str(path) for path in paths]
    session.terminal.result({"job": job_id, "files": files}, "\n".join(files))
