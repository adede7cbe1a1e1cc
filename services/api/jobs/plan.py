"""What a job would take and what is wrong with it, without storing it."""

from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from nvae_core.estimate import estimate
from services.api.errors import ErrorDetail
from services.api.jobs import validation
from services.api.jobs.submission import new_job
from services.api.jobs.validation import Problems, check_job
from services.database import datasets
from services.database.session import Session
from services.database.tables import Job
from services.domain.specs import ResolvedTraining, SubmittedSpec, TrainSpec, resources_of


class TrainingPlan(BaseModel):
    """What a training would take; memory is about right."""

    model: dict[str, JsonValue]
    optimization: dict[str, JsonValue]
    num_parameters: int
    num_steps: int | None  # null where the data set is not known
    memory_bytes_per_rank: Annotated[int, Field(description="in the precision of `compute`")]
    checkpoint_bytes: int
    num_checkpoints_kept: Annotated[int, Field(description="the last ones, without milestones")]


class Plan(BaseModel):
    """A job as it would be submitted; valid when nothing is wrong with it."""

    valid: bool
    problems: list[ErrorDetail]
    num_ranks: int
    training: TrainingPlan | None  # of a train job whose preset and overrides are right


async def plan_job(session: Session, spec: SubmittedSpec, *, project: str) -> Plan:
    """Make every check of a submission and store nothing."""
    job, problems = new_job(spec, project), Problems()
    await check_job(session, job, spec, problems)
    resources = resources_of(spec)
    training = None
    if isinstance(spec, TrainSpec) and job.resolved is not None:
        training = await _plan_training(session, job, spec)
    return Plan(
        valid=not problems.found,
        problems=[ErrorDetail(pointer=p.pointer, message=p.message) for p in problems.found],
        num_ranks=resources.nodes * resources.slots,
        training=training,
    )


async def _plan_training(session: Session, job: Job, spec: TrainSpec) -> TrainingPlan:
    resolved = ResolvedTraining.model_validate(job.resolved)
    cost = estimate(resolved.model)
    batch_size = resolved.optimization.batch_size
    num_steps = None
    if job.dataset_id is not None:
        dataset = await datasets.find(session, job.project, job.dataset_id)
        num_images = (dataset.description or {})["splits"]["train"]["num_images"]
        steps_per_epoch = num_images // (batch_size * validation.num_ranks(spec))
        num_steps = resolved.optimization.epochs * steps_per_epoch
    micro_batch = batch_size // spec.compute.gradient_accumulation
    return TrainingPlan(
        model=resolved.model.model_dump(mode="json"),
        optimization=resolved.optimization.model_dump(mode="json"),
        num_parameters=cost.num_parameters,
        num_steps=num_steps,
        memory_bytes_per_rank=cost.training_bytes(micro_batch, spec.compute.precision),
        checkpoint_bytes=cost.checkpoint_bytes,
        num_checkpoints_kept=spec.checkpoint.keep_last,
    )
