"""Images drawn from a checkpoint."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictInt

from nvae_core.config.base import Config, Seed, Temperature, Temperatures


def _to_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


OneOrMore = Annotated[
    Temperatures,
    Field(min_length=1, max_length=16),
    BeforeValidator(_to_list, json_schema_input_type=Temperature | tuple[Temperature, ...]),
]
"""One or several; one may be given without a list around it."""

Output = Literal["grid", "images", "array"]


class SamplingOptions(Config):
    """What to draw from the prior of a checkpoint, and in which form."""

    kind: Literal["sample"] = "sample"
    checkpoint: str
    # One, or several of which each is drawn from the same noise.
    temperature: OneOrMore = (1.0,)
    num_images: Annotated[StrictInt, Field(ge=1, le=1024)] = 64  # at each temperature
    output: Annotated[tuple[Output, ...], Field(min_length=1, max_length=3)] = ("grid",)
    image: Literal["mean", "draw"] = "mean"  # of the image distribution
    batch_norm: Literal["running", "re-estimate"] = "running"
    re_estimation_draws: Annotated[StrictInt, Field(ge=1, le=10_000)] = 500
    fixed_scales: Annotated[StrictInt, Field(ge=0, le=16)] = (
        0  # top ones whose latents all images share
    )
    seed: Seed = 0


class SampleConfig(SamplingOptions):
    """One run; its paths are absolute or relative to the run directory."""

    # Files that an earlier run of this checkpoint left when it re-estimated.
    statistics: tuple[str, ...] = ()


def statistics_name(temperature: float, num_draws: int) -> str:
    """Return the name of the file of statistics that were re-estimated by so many draws."""
    return f"batch_norm_temperature_{temperature!r}_draws_{num_draws}.safetensors"
