"""Specs become run configurations with folders in place of names."""

import pytest
from pydantic import TypeAdapter, ValidationError

from nvae_core.presets import find_preset
from services.domain.specs import JobSpec, ResolvedTraining, run_config

SPEC = TypeAdapter(JobSpec)


def parse(**fields):
    return SPEC.validate_python(fields)


def test_train_spec_becomes_a_train_config():
    preset = find_preset("mnist-test")
    resolved = ResolvedTraining(model=preset.model, optimization=preset.optimization)
    policies = {"validation": {"every_steps": 20}, "compute": {"precision": "bf16"}}
    spec = parse(kind="train", preset="mnist-test", dataset="mnist", seed=7, **policies)
    config = run_config(spec, resolved=resolved, dataset="/data", checkpoint="/old")
    assert (config.validation.every_steps, config.compute.precision) == (20, "bf16")
    assert (config.model, config.seed, config.dataset) == (preset.model, 7, "/data")
    assert config.resume_from == "/old"


def test_sample_spec_keeps_what_it_asks_for():
    spec = parse(kind="sample", checkpoint="ckpt_1", temperature=0.7, num_images=9, seed=3)
    config = run_config(spec, resolved=None, dataset=None, checkpoint="/c")
    assert (config.temperature, config.num_images, config.seed) == ((0.7,), 9, 3)
    assert config.checkpoint == "/c"


def test_evaluate_spec_reads_checkpoint_and_data_set_from_folders():
    spec = parse(kind="evaluate", checkpoint="ckpt_1", dataset="mnist", importance_samples=5)
    config = run_config(spec, resolved=None, dataset="/d", checkpoint="/c")
    assert (config.dataset, config.checkpoint, config.importance_samples) == ("/d", "/c", 5)


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({"kind": "train", "preset": "p", "dataset": "d", "epochs": 3}, "epochs"),
        ({"kind": "sample", "checkpoint": "c", "num_images": 0}, "num_images"),
        ({"kind": "train", "preset": "p"}, "dataset"),
    ],
)
def test_wrong_field_is_named(fields, location):
    with pytest.raises(ValidationError) as error:
        parse(**fields)
    assert error.value.errors()[0]["loc"][-1] == location


def test_preparation_cannot_be_submitted_as_a_job():
    with pytest.raises(ValidationError, match="train"):
        parse(kind="prepare_dataset", dataset="ds", source={"kind": "bundled", "name": "mnist_5k"})
