"""`nvae sample`: a picture from a checkpoint."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nvae_client.cli import options
from nvae_client.cli.connecting import Session, connected
from nvae_client.cli.following import follow_job
from nvae_client.cli.saving import save_artifacts
from nvae_client.cli.specs import build_spec


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
        session.terminal.result(
            {"job": job_id, "files": [str(path) for path in paths]},
            "\n".join(str(path) for path in paths),
        )


def _draw(session: Session, spec: dict[str, Any], output: Path) -> tuple[str, list[Path]]:
    """Return the job's id and its pictures: at once if it is drawn soon, else when it is."""
    drawn = session.client.jobs.draw(spec)
    if drawn.picture is None:
        job = follow_job(session, session.client.jobs.get(drawn.job_id))
        return job.id, save_artifacts(session, job.pictures(), output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(drawn.picture)
    return drawn.job_id, [output]
