"""How one model is trained."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictFloat, model_validator

from nvae_core.config.base import Config, PositiveInt


class OptimizationConfig(Config):
    """How the model is trained: AdaMax, its schedules, and the terms of the objective."""

    epochs: PositiveInt
    batch_size: PositiveInt  # images per rank and step
    learning_rate: Annotated[StrictFloat, Field(gt=0)] = 0.01
    min_learning_rate: Annotated[StrictFloat, Field(ge=0)] = 1e-4
    warmup_epochs: Annotated[StrictFloat, Field(ge=0)] = 5.0  # linear learning-rate warm-up
    weight_decay: Annotated[StrictFloat, Field(ge=0)] = 3e-4
    kl_warmup_fraction: Annotated[StrictFloat, Field(gt=0, le=1)] = 0.3
    min_kl_weight: Annotated[StrictFloat, Field(ge=0, le=1)] = 1e-4
    kl_balancing: Literal["multiply", "divide", "off"] = "multiply"
    spectral_weight: Annotated[StrictFloat, Field(ge=0)] = 0.01  # λ
    initial_spectral_weight: Annotated[StrictFloat, Field(gt=0)] | None = (
        None  # annealed from, to λ
    )
    batch_norm_penalty: StrictBool = True  # added with weight λ
    max_gradient_norm: Annotated[StrictFloat, Field(gt=0)] | None = (
        None  # a step above it is skipped
    )
    horizontal_flip: StrictBool = False  # of every other training image, at random

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError("warmup_epochs must be smaller than epochs")
        if self.initial_spectral_weight is not None and self.spectral_weight == 0:
            raise ValueError("initial_spectral_weight needs a spectral_weight above 0")
        return self
