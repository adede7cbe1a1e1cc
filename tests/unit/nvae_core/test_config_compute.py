import pytest
from pydantic import ValidationError

from nvae_core.config import ComputeConfig, TrainConfig


def test_defaults_compute_as_one_batch_in_single_precision() -> None:
    compute = ComputeConfig()
    assert (compute.precision, compute.gradient_accumulation) == ("float32", 1)
    assert (compute.activation_checkpointing, compute.compile) == (False, False)
    assert compute.deterministic
    assert compute.batch_norm_statistics == "all_ranks"


@pytest.mark.parametrize(
    "field",
    [
        {"precision": "float64"},
        {"gradient_accumulation": 0},
        {"batch_norm_statistics": "node"},
        {"channels_last": True},
        {"deterministic": 1},
    ],
)
def test_unknown_values_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ComputeConfig.model_validate(field)


def test_micro_batches_must_be_of_equal_size(train_config: TrainConfig) -> None:
    fields = train_config.model_dump()
    fields["compute"]["gradient_accumulation"] = 4
    assert TrainConfig.model_validate(fields).compute.gradient_accumulation == 4
    fields["compute"]["gradient_accumulation"] = 3
    with pytest.raises(ValidationError, match=r"compute\.gradient_accumulation.*batch_size of 8"):
        TrainConfig.model_validate(fields)


def test_manifest_of_an_older_checkpoint_is_read_with_defaults() -> None:
    fields = ComputeConfig().model_dump()
    del fields["deterministic"]
    assert ComputeConfig.model_validate(fields) == ComputeConfig()
