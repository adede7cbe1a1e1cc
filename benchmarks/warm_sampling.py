"""How long a picture takes: cold, warm, and what of it is drawing.

`python -m benchmarks.warm_sampling [--requests N]`. A stack of its own is started with two slots,
and the `mnist-cpu` model trained for one epoch: what it has learned does not matter. Then 8 × 8
grids are asked for by `POST /v1/jobs` with `Prefer: wait` and `Accept: image/png`, one after the
other.

Two bounds stand beside it. What cannot be left out of this implementation: drawing the 64 images on
one thread and encoding the PNG, measured in this process, with the model loaded and folded. And
what cannot be left out at all: the multiply-adds of the decoder's convolutions, at the rate at
which one thread multiplies large matrices here. The rest is the path of a job: its row, placement,
claim, runner, upload, and the end that the API waits for; a grid of one image shows it.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.yardstick import measure
from nvae_client import Checkpoint, NvaeClient
from nvae_core.sampling.draw import draw_images
from nvae_core.sampling.grids import arrange_grid, encode_png
from nvae_core.sampling.sampler import Sampler
from services.local.state import free_ports
from services.worker.sampler.client import connect, sampler_folder

NUM_IMAGES = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder)) as url,
        NvaeClient(url, (Path(folder) / "api_key").read_text()) as client,
    ):
        checkpoint = train(client)
        spec = {"checkpoint": checkpoint.id, "temperature": 0.8}
        cold = picture_seconds(client, spec)
        wait_for_resident(Path(folder))
        picture_seconds(client, spec)
        warm = [picture_seconds(client, spec) for _ in range(arguments.requests)]
        one = [picture_seconds(client, spec | {"num_images": 1}) for _ in range(5)]
        model = checkpoint.download(Path(folder) / "checkpoint")
        drawing, arithmetic = bounds(model)
    ordered = sorted(warm)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    median = statistics.median(ordered)
    print(
        f"cold {cold:.2f} s; warm median {median:.3f} s, p95 {p95:.3f} s, longest "
        f"{ordered[-1]:.3f} s ({len(ordered)} in a row); a grid of one image "
        f"{statistics.median(one):.3f} s; drawing and encoding alone {drawing:.3f} s, of which the "
        f"median is {median / drawing:.1f} times; arithmetic {arithmetic:.4f} s, "
        f"{median / arithmetic:.0f} times"
    )


@contextmanager
def running_stack(folder: Path) -> Iterator[str]:
    """Start the whole service on this machine, and stop it at the end."""
    [port] = free_ports(1)
    stack = [sys.executable, "-m", "services.local"]
    options = ["--data", str(folder), "--api-port", str(port), "--slots", "2"]
    subprocess.run([*stack, "up", "--detach", *options], check=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run([*stack, "down", "--data", str(folder)], check=True)


def train(client: NvaeClient) -> Checkpoint:
    """Return a checkpoint of the demo's model."""
    source = {"kind": "bundled", "name": "mnist_5k"}
    client.datasets.register("digits", source).job.wait()
    spec: dict[str, object] = {"kind": "train", "preset": "mnist-cpu", "dataset": "digits"}
    spec |= {"overrides": {"optimization.epochs": 1}, "resources": {"slots": 2}}
    return client.jobs.submit(spec).wait().checkpoints()[-1]


def picture_seconds(client: NvaeClient, spec: dict[str, object]) -> float:
    """Return how long a picture takes to come."""
    began_at = time.perf_counter()
    assert client.jobs.draw(spec).picture
    return time.perf_counter() - began_at


def wait_for_resident(folder: Path) -> None:
    """Return when the node's resident sampler answers."""
    while not (connection := connect(sampler_folder(folder / "worker", "cpu", "0"))):
        time.sleep(0.1)
    connection.close()


def bounds(checkpoint: Path) -> tuple[float, float]:
    """Return the seconds of drawing and encoding a grid, and of its arithmetic alone."""
    sampler = Sampler.load(checkpoint, torch.device("cpu"))
    num_operations = count_operations(sampler)
    torch.set_num_threads(1)
    decoder = sampler.running()

    def draw() -> None:
        images = draw_images(decoder, NUM_IMAGES, temperature=0.8, generator=torch.Generator())
        encode_png(arrange_grid(images))

    return measure(draw, repeats=9, warmup=1), num_operations / operations_per_second()


def count_operations(sampler: Sampler) -> int:
    """Return the additions and multiplications of the convolutions that draw a grid."""
    torch.set_num_threads(2)  # by torch's own operations, which can be counted
    with FlopCounterMode(display=False) as counter:
        sampler.model.generate(torch.Generator(), batch_size=NUM_IMAGES, temperature=0.8)
    return int(counter.get_total_flops())


def operations_per_second() -> float:
    """Return how fast one thread adds and multiplies at best: large matrices."""
    size = 1024
    left, right = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / measure(lambda: left @ right, repeats=9, warmup=2)


if __name__ == "__main__":
    main()
