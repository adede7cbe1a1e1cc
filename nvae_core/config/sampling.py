"""Images drawn from a checkpoint."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from nvae_core.config.base import Config, Seed, Temperature, Temperatures

MAX_TEMPERATURES = 16
BatchNormStatistics = Literal["running", "re-estimate"]
SampleOutput = Literal["grid", "images", "array"]
ReEstimationDraws = Annotated[int, Field(ge=1, le=10_000)]


def _tag_of(temperature: Any) -> str:
    return "list" if isinstance(temperature, list | tuple) else "number"


def _check_different(outputs: tuple[SampleOutput, ...]) -> tuple[SampleOutput, ...]:
    if len(set(outputs)) < len(outputs):
        raise ValueError("outputs must differ")
    return outputs


# With the tags an error is about what was meant, a number or a list.
OneOrMoreTemperatures = Annotated[
    Annotated[Temperature, Tag("number")]
    | Annotated[Temperatures, Field(min_length=1, max_length=MAX_TEMPERATURES), Tag("list")],
    Discriminator(_tag_of),
]


class SampleOptions(Config):
    """What is drawn from the prior of a checkpoint, and how it is kept."""

    kind: Literal["sample"] = "sample"
    checkpoint: str
    temperature: OneOrMoreTemperatures = 1.0
    num_images: Annotated[int, Field(ge=1, le=1024)] = 64  # per temperature
    output: Annotated[
        tuple[SampleOutput, ...], Field(min_length=1), AfterValidator(_check_different)
    ] = ("grid",)
    image: Literal["mean", "draw"] = "mean"  # of the image distribution
    batch_norm: BatchNormStatistics = "running"
    re_estimation_draws: ReEstimationDraws = 500
    # The latents of so many top scales are drawn once, and all images have them.
    fixed_scales: Annotated[int, Field(ge=0, le=8)] = 0
    seed: Seed = 0

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures, in the order given."""
        given = self.temperature
        return given if isinstance(given, tuple) else (given,)


class SampleConfig(SampleOptions):
    """Images drawn from the prior of a checkpoint, perhaps with statistics of an earlier run."""

    # Files of re-estimated statistics, each of this checkpoint and of a temperature asked for.
    statistics: tuple[str, ...] = ()
