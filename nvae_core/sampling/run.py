"""A whole sample run: what `config.json` asks for, drawn and left in the run directory."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from nvae_core.config import SampleConfig
from nvae_core.model.decoder import Decoder
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import (
    ExitReason,
    InvalidRunDirectory,
    MetricsLine,
    Phase,
    Result,
    RunDirectory,
    StartedLine,
)
from nvae_core.sampling.drawing import SamplingStopped, draw_images
from nvae_core.sampling.given import read_given
from nvae_core.sampling.grids import arrange_grid, as_bytes, encode_png, report_sample
from nvae_core.sampling.record import describe_checkpoint, describe_inputs, report_record
from nvae_core.sampling.sampler import Sampler
from nvae_core.sampling.statistics import encode_statistics
from nvae_core.seeding import Stream, seeded_generator

RECORD_NAME = "samples.json"


def sample_run(
    config: SampleConfig,
    run: RunDirectory,
    sampler: Sampler,
    *,
    should_stop: Callable[[], bool],
) -> Result:
    """Draw all that a run asks for.

    The bytes of each file depend on the configuration and the checkpoint only, not on what the
    sampler did before.

    Raises:
        InvalidRunDirectory: the model has not so many scales, or statistics are of another one.
    """
    num_images = config.num_images * len(config.temperature)
    parameters = count_parameters(sampler.model)
    rank_file = run.open_rank_file(0)

    def alive() -> bool:
        rank_file.enter(Phase.SAMPLE, drawing.num_drawn)
        return should_stop()

    drawing = _Drawing(config, run, sampler, alive)
    run.append(StartedLine(at=time.time(), num_steps=num_images, num_parameters=parameters))
    try:
        for temperature in config.temperature:
            drawing.draw(temperature)
        drawing.leave_record()
        rank_file.enter(Phase.END, num_images)
    except SamplingStopped:
        return Result(status="stopped", reason=ExitReason.STOPPED, step=sampler.manifest.step)
    return Result(
        status="succeeded", step=sampler.manifest.step, values={"num_images": config.num_images}
    )


@dataclass
class _Drawing:
    config: SampleConfig
    run: RunDirectory
    sampler: Sampler
    should_stop: Callable[[], bool]
    num_drawn: int = 0
    rows: list[dict[str, object]] = field(default_factory=list)  # of the record

    def __post_init__(self) -> None:
        self.num_shared_groups = _num_groups(self.sampler, self.config.fixed_scales)
        self.given = read_given(self.run, self.config.statistics, self.sampler)

    def draw(self, temperature: float) -> None:
        """Draw the images of one temperature and leave them."""
        began_at, config, device = time.monotonic(), self.config, self.sampler.device
        pixels = None
        if config.image == "draw":
            pixels = seeded_generator(device, Stream.PIXELS, config.seed)
        images = draw_images(
            self._decoder(temperature),
            config.num_images,
            temperature=temperature,
            # The same latents for all statistics, so that their grids can be compared (Fig. 7).
            generator=seeded_generator(device, Stream.LATENTS, config.seed),
            pixels=pixels,
            num_shared_groups=self.num_shared_groups,
            should_stop=self.should_stop,
        )
        files = self._leave(images, temperature)
        self.rows.append({"temperature": temperature, "files": files})
        self.num_drawn += len(images)
        speed = {"images_per_second": len(images) / (time.monotonic() - began_at)}
        self.run.append(MetricsLine(at=time.time(), step=self.num_drawn, values=speed))

    def leave_record(self) -> None:
        """Leave what all files were made from."""
        record = {
            "inputs": describe_inputs(self.config),
            "checkpoint": describe_checkpoint(self.config.checkpoint, self.sampler.manifest),
            "temperatures": self.rows,
        }
        report_record(self.run, RECORD_NAME, record, step=self.sampler.manifest.step)

    def _decoder(self, temperature: float) -> Decoder:
        if self.config.batch_norm == "running":
            return self.sampler.running()
        key = self.sampler.key(temperature, self.config.re_estimation_draws)
        return self.sampler.re_estimated(
            key,
            given=self.given.get(key),
            keep=lambda statistics: self._report(
                key.file_name, encode_statistics(statistics, key), "application/octet-stream"
            ),
            should_stop=self.should_stop,
        )

    def _leave(self, images: Tensor, temperature: float) -> list[str]:
        """Leave the images in the forms that are asked for; return the names of the files."""
        one = len(self.config.temperature) == 1
        suffix = "" if one else f"_temperature_{temperature:g}"
        pixels = as_bytes(images)
        files: dict[str, tuple[bytes, str]] = {}
        if "grid" in self.config.output:
            files[f"grid{suffix}.png"] = encode_png(arrange_grid(images)), "image/png"
        if "array" in self.config.output:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, images=pixels)
            files[f"images{suffix}.npz"] = buffer.getvalue(), "application/octet-stream"
        if "images" in self.config.output:
            for index, image in enumerate(pixels):
                files[f"images{suffix}/{index:04d}.png"] = encode_png(image), "image/png"
        for name, (content, content_type) in files.items():
            self._report(name, content, content_type)
        return list(files)

    def _report(self, name: str, content: bytes, content_type: str) -> None:
        report_sample(self.run, name, content, content_type, step=self.sampler.manifest.step)


def _num_groups(sampler: Sampler, num_scales: int) -> int:
    """Return how many groups the top scales have."""
    groups_per_scale = sampler.manifest.model.num_groups_per_scale
    if num_scales > len(groups_per_scale):
        raise InvalidRunDirectory(
            f"fixed_scales: is {num_scales}, and the model has {len(groups_per_scale)}"
        )
    return sum(groups_per_scale[:num_scales])
