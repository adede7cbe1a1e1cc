"""What one sample run does after its checkpoint is loaded."""

import time
from collections.abc import Callable

import numpy as np

from nvae_core.config import SampleConfig
from nvae_core.hierarchy import build_hierarchy
from nvae_core.inference.network import FoldedDecoder
from nvae_core.model.noise import Stream, seeded_generator
from nvae_core.run_directory import (
    ExitReason,
    InvalidRunDirectory,
    Result,
    RunDirectory,
    StartedLine,
)
from nvae_core.sampling.drawing import draw_batches, split_batches
from nvae_core.sampling.pixels import (
    PNG,
    Pixels,
    arrange_grid,
    encode_array,
    encode_png,
    report_file,
    to_pixels,
)
from nvae_core.sampling.re_estimation import DecoderStatistics, Stopped, read_statistics
from nvae_core.sampling.sampler import Sampler

BYTES = "application/octet-stream"


def sample_run(
    config: SampleConfig, run: RunDirectory, sampler: Sampler, should_stop: Callable[[], bool]
) -> Result:
    """Draw what the configuration asks for, and report each file as it is there.

    `should_stop` is asked between batches; what was reported before stays.

    Raises:
        InvalidRunDirectory: a field does not fit the checkpoint; nothing is written.
        OSError: there is no room for a file.
    """
    return _SampleRun(config, run, sampler, should_stop).work()


def num_groups_of(scales: int, sampler: Sampler) -> int:
    """Return how many groups so many top scales have.

    Raises:
        InvalidRunDirectory: there are not so many scales.
    """
    num_scales = len(sampler.config.num_groups_per_scale)
    if scales > num_scales:
        raise InvalidRunDirectory(f"fixed_scales: is {scales}, but the model has {num_scales}")
    return sum(group.scale < scales for group in build_hierarchy(sampler.config).groups)


class _SampleRun:
    def __init__(
        self,
        config: SampleConfig,
        run: RunDirectory,
        sampler: Sampler,
        should_stop: Callable[[], bool],
    ) -> None:
        self._config = config
        self._run = run
        self._sampler = sampler
        self._should_stop = should_stop
        self._step = sampler.manifest.step
        self._num_drawn = 0
        fixed_groups = num_groups_of(config.fixed_scales, sampler)
        self._given = read_given(config, run, sampler)
        self._noise = sampler.noise(seed=config.seed, fixed_groups=fixed_groups)

    def work(self) -> Result:
        num_images = self._config.num_images * len(self._config.temperatures)
        num_parameters = self._sampler.num_parameters
        self._run.append(
            StartedLine(at=time.time(), num_steps=num_images, num_parameters=num_parameters)
        )
        try:
            for temperature in self._config.temperatures:
                self._report(temperature, self._draw(temperature, self._decoder(temperature)))
        except Stopped:
            return self._result(ExitReason.STOPPED)
        return self._result(None)

    def _decoder(self, temperature: float) -> FoldedDecoder:
        if self._config.batch_norm == "running":
            return self._sampler.running()
        draws = self._config.re_estimation_draws
        given = self._given.get(temperature)
        found = self._sampler.re_estimated(
            temperature, draws, given=given, should_stop=self._should_stop
        )
        self._save(found.statistics.origin.file_name, found.statistics.encode(), BYTES)
        return found.decoder

    def _draw(self, temperature: float, decoder: FoldedDecoder) -> Pixels:
        # Of the same noise in every setting, so that grids can be compared (Fig. 7).
        device, seed = self._sampler.device, self._config.seed
        batches = draw_batches(
            decoder,
            self._noise,
            split_batches(self._config.num_images, self._sampler.decoder),
            temperature=temperature,
            image=self._config.image,
            pixels=seeded_generator(device, Stream.PIXELS, seed),
        )
        drawn: list[Pixels] = []
        while True:
            if self._should_stop():
                raise Stopped
            images = next(batches, None)
            if images is None:
                return np.concatenate(drawn)
            drawn.append(to_pixels(images))
            self._num_drawn += len(images)

    def _report(self, temperature: float, pixels: Pixels) -> None:
        is_alone = len(self._config.temperatures) == 1
        suffix = "" if is_alone else f"_temperature_{temperature:g}"
        if "grid" in self._config.output:
            self._save(f"grid{suffix}.png", encode_png(arrange_grid(pixels)), PNG)
        if "images" in self._config.output:
            for index, image in enumerate(pixels):
                self._save(f"image{suffix}_{index:04d}.png", encode_png(image), PNG)
        if "array" in self._config.output:
            self._save(f"images{suffix}.npz", encode_array(pixels), BYTES)

    def _save(self, name: str, content: bytes, content_type: str) -> None:
        report_file(self._run, name, content, content_type=content_type, step=self._step)

    def _result(self, reason: ExitReason | None) -> Result:
        return Result(
            status="stopped" if reason else "succeeded",
            reason=reason,
            step=self._step,
            values={"num_images": self._num_drawn},
        )


def read_given(
    config: SampleConfig, run: RunDirectory, sampler: Sampler
) -> dict[float, DecoderStatistics]:
    """Read the statistics that were handed in, by temperature.

    Raises:
        InvalidRunDirectory: a file cannot be read, or is not of this checkpoint, or of no
            temperature and number of draws that the configuration asks for.
    """
    wanted = {
        sampler.origin(temperature, config.re_estimation_draws)
        for temperature in config.temperatures
        if config.batch_norm == "re-estimate"
    }
    given: dict[float, DecoderStatistics] = {}
    for name in config.statistics:
        statistics = read_statistics(run.path / name, sampler.decoder)
        if statistics.origin not in wanted:
            raise InvalidRunDirectory(
                f"statistics: {name}: is of {statistics.origin!r}, which this run has no use for"
            )
        given[statistics.origin.temperature] = statistics
    return given
