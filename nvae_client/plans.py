"""What a job would be and take."""

from typing import Any

from nvae_client.answers import Answer


class FieldProblem(Answer):
    """What is wrong with one field of a spec."""

    pointer: str
    message: str


class TrainingPlan(Answer):
    """What a training would take; `num_steps` is None where the data set is not known."""

    model: dict[str, Any]
    optimization: dict[str, Any]
    num_parameters: int
    num_steps: int | None = None
    memory_bytes_per_rank: int
    checkpoint_bytes: int
    num_checkpoints_kept: int


class Plan(Answer):
    """What a job would be: everything is checked, nothing stored."""

    valid: bool
    problems: tuple[FieldProblem, ...] = ()
    num_ranks: int
    training: TrainingPlan | None = None  # of one whose preset and overrides are right
