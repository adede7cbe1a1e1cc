"""A whole sample run: what `config.json` asks for, drawn and left in the run directory."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass

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
from nvae_core.runtime.program import describe_device
from nvae_core.sampling.batch_norm_statistics import encode_statistics, load_batch_norm_statistics
from nvae_core.sampling.draw import SamplingStopped, draw_images
from nvae_core.sampling.grids import (
    arrange_grid,
    as_bytes,
    describe_checkpoint,
    describe_inputs,
    encode_png,
    report_record,
    report_sample,
)
from nvae_core.sampling.sampler import Sampler
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
    sampling = _Sampling(config, run, sampler, should_stop)
    line = StartedLine(
        at=time.time(),
        num_steps=config.num_images * len(config.temperature),
        num_parameters=count_parameters(sampler.model),
        **describe_device(sampler.device),
    )
    run.append(line)
    step = sampler.manifest.step
    try:
        sampling.draw_all()
    except SamplingStopped:
        return Result(status="stopped", reason=ExitReason.STOPPED, step=step)
    return Result(status="succeeded", step=step, values={"num_images": config.num_images})


@dataclass
class _Sampling:
    config: SampleConfig
    run: RunDirectory
    sampler: Sampler
    is_asked_to_stop: Callable[[], bool]
    num_drawn: int = 0

    def __post_init__(self) -> None:
        self.rank_file = self.run.open_rank_file(0)
        self.num_shared_groups = _num_groups(self.sampler, self.config.fixed_scales)
        self.statistics = load_batch_norm_statistics(
            self.run,
            self.config.statistics,
            self.sampler.model,
            model_sha256=self.sampler.model_sha256,
        )

    def draw_all(self) -> None:
        """Draw the images of each temperature, and save them and what they were made from."""
        rows = [self._draw(temperature) for temperature in self.config.temperature]
        record = {
            "inputs": describe_inputs(self.config),
            "checkpoint": describe_checkpoint(self.config.checkpoint, self.sampler.manifest),
            "temperatures": rows,
        }
        report_record(self.run, RECORD_NAME, record, step=self.sampler.manifest.step)
        self.rank_file.enter(Phase.END, self.num_drawn)

    def _draw(self, temperature: float) -> dict[str, object]:
        """Draw and save the images of one temperature; return their row of the record."""
        began_at, config, device = time.monotonic(), self.config, self.sampler.device
        draws_pixels = config.image == "draw"
        images = draw_images(
            self._decoder(temperature),
            config.num_images,
            temperature=temperature,
            # The same latents for all statistics, so that their grids can be compared (Fig. 7).
            generator=seeded_generator(device, Stream.LATENTS, config.seed),
            pixels=seeded_generator(device, Stream.PIXELS, config.seed) if draws_pixels else None,
            num_shared_groups=self.num_shared_groups,
            should_stop=self._should_stop,
        )
        files = self._save(images, temperature)
        self.num_drawn += len(images)
        speed = {"images_per_second": len(images) / (time.monotonic() - began_at)}
        self.run.append(MetricsLine(at=time.time(), step=self.num_drawn, values=speed))
        return {"temperature": temperature, "files": files}

    def _should_stop(self) -> bool:
        self.rank_file.enter(Phase.SAMPLE, self.num_drawn)
        return self.is_asked_to_stop()

    def _decoder(self, temperature: float) -> Decoder:
        if self.config.batch_norm == "running":
            return self.sampler.running()
        key = self.sampler.key(temperature, self.config.re_estimation_draws)
        return self.sampler.re_estimated(
            key,
            statistics=self.statistics.get(key),
            keep=lambda statistics: self._report(
                key.file_name, encode_statistics(statistics, key), "application/octet-stream"
            ),
            should_stop=self._should_stop,
        )

    def _save(self, images: Tensor, temperature: float) -> list[str]:
        """Save the images in the forms that are asked for; return the names of the files."""
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
