"""The demo: from a data set to a trained model and pictures, over HTTP only.

`python -m services.local demo` starts a stack and then this program, with the API's URL in
`NVAE_API_URL`. What came out is one JSON object: in the file `NVAE_DEMO_SUMMARY` if that is set,
else on standard output.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nvae_client import Job, Node, NvaeClient, NvaeError

Json = dict[str, Any]
TEMPERATURES = (0.6, 0.8, 1.0)

console = Console(stderr=True)


def main() -> int:
    """Run the demo; the exit status."""
    preset = os.environ.get("NVAE_DEMO_PRESET", "mnist-cpu")
    output = Path(os.environ.get("NVAE_DEMO_OUTPUT", "demo_output")).resolve()
    with NvaeClient(os.environ["NVAE_API_URL"]) as client:
        try:
            summary = run_demo(client, preset=preset, output=output)
        except NvaeError as error:
            console.print(f"[red]{error}[/red]")
            return 1
    line = json.dumps(summary)
    if target := os.environ.get("NVAE_DEMO_SUMMARY"):
        Path(target).write_text(line)
    else:
        print(line)
    return 0


def run_demo(client: NvaeClient, *, preset: str, output: Path) -> Json:
    """Train, evaluate and sample, download everything, and return what came out."""
    console.rule("data set")
    registered = client.datasets.register("mnist", {"kind": "bundled", "name": "mnist_5k"})
    follow(registered.job, "prepare 5 000 digits")

    console.rule(f"train {preset}")
    spec: Json = {"kind": "train", "name": "demo", "preset": preset, "dataset": "mnist"}
    # Over all ranks the statistics are two sums per layer and step, for which cores would wait.
    spec["compute"] = {"batch_norm_statistics": "local"}
    resources = {"slots": training_slots(client.nodes.list())}
    trained = follow(client.jobs.submit(spec | {"resources": resources}), "train")
    checkpoint = trained.checkpoints()[-1]

    console.rule("evaluate and sample")
    evaluation = client.jobs.submit(
        {
            "kind": "evaluate",
            "checkpoint": checkpoint.id,
            "dataset": "mnist",
            "split": "test",
            "importance_samples": 10,
        }
    )
    sample = {"kind": "sample", "checkpoint": checkpoint.id, "num_images": 64}
    samplings = {
        temperature: client.jobs.submit(sample | {"temperature": temperature})
        for temperature in TEMPERATURES
    }
    evaluated = follow(evaluation, "evaluate 500 held-out digits")

    grids = []
    for temperature, sampling in samplings.items():
        follow(sampling, f"sample at temperature {temperature}")
        [grid] = sampling.pictures()
        target = output / f"grid_temperature_{temperature}.png"
        grids.append(str(grid.download(target)))
    folder = checkpoint.download(output / "checkpoint")
    console.print(f"downloaded to {output}; every sha256 is right")
    return {
        "negative_elbo": (evaluated.result or {})["negative_elbo"],
        "train_seconds": (trained.result or {})["train_seconds"],
        "num_parameters": trained.num_parameters,
        "grids": grids,
        "checkpoint": str(folder),
        "job": trained.id,
    }


def training_slots(nodes: Sequence[Node]) -> int:
    """Return how many slots the demo trains on: two, or one where no node has two."""
    return min(2, max(node.num_slots for node in nodes))


def follow(job: Job, title: str) -> Job:
    """Show a progress bar until the job has succeeded."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(title, total=None, state="queued")

        def show(seen: Job) -> None:
            loss = (seen.latest_metrics or {}).get("loss")
            step, num_steps = seen.progress.step or 0, seen.progress.num_steps
            if seen.status == "succeeded":
                step = num_steps = num_steps or 1
            is_training = seen.status == "running" and loss is not None
            state = f"loss {loss:.1f}" if is_training else seen.status
            progress.update(bar, completed=step, total=num_steps, state=state)

        return job.wait(on_change=show, look_seconds=1)


if __name__ == "__main__":
    sys.exit(main())
