import json
from pathlib import Path

import pytest
import torch

from nvae_core.checkpoint import CheckpointCorrupt, load_model
from nvae_core.config import ModelConfig, OptimizationConfig
from nvae_core.training.checkpointer import save_checkpoint
from nvae_core.training.resume import restore_training
from nvae_core.training.state import TrainingState, start_training

CPU = torch.device("cpu")
OPTIMIZATION = OptimizationConfig(epochs=1, batch_size=4, warmup_epochs=0)


def trained_state(model_config: ModelConfig, seed: int = 0) -> TrainingState:
    state = start_training(model_config, OPTIMIZATION, seed=seed, device=CPU)
    gradients = torch.ones_like(state.bank.flat)
    state.optimizer.update(gradients, torch.tensor(0.01), is_taken=torch.ones(()))
    state.step = 7
    return state


def save(tmp_path: Path, state: TrainingState) -> Path:
    return save_checkpoint(tmp_path, state, optimization=OPTIMIZATION, seed=0)


def test_restored_state_equals_the_saved_one(tmp_path: Path, model_config: ModelConfig) -> None:
    saved = trained_state(model_config)
    path = save(tmp_path, saved)
    assert path.name == "step_00000007"
    restored = start_training(model_config, OPTIMIZATION, seed=1, device=CPU)
    restore_training(restored, path)
    assert restored.step == 7
    for ours, theirs in (
        (restored.model.state_dict(), saved.model.state_dict()),
        (restored.training_tensors(), saved.training_tensors()),
    ):
        torch.testing.assert_close(ours, dict(theirs), rtol=0, atol=0)


def test_model_loads_without_the_training_file(tmp_path: Path, model_config: ModelConfig) -> None:
    saved = trained_state(model_config)
    path = save(tmp_path, saved)
    (path / "training.safetensors").unlink()
    model, manifest = load_model(path, CPU)
    assert manifest.model == model_config
    torch.testing.assert_close(model.state_dict(), saved.model.state_dict(), rtol=0, atol=0)


def test_state_before_the_first_update_can_be_restored(
    tmp_path: Path, model_config: ModelConfig
) -> None:
    untrained = start_training(model_config, OPTIMIZATION, seed=0, device=CPU)
    path = save(tmp_path, untrained)
    restored = start_training(model_config, OPTIMIZATION, seed=1, device=CPU)
    restore_training(restored, path)
    assert torch.equal(restored.bank.flat, untrained.bank.flat)
    assert restored.optimizer.count.item() == 0
    assert restored.spectral.is_fresh


def test_restored_values_are_those_that_are_trained_on(
    tmp_path: Path, model_config: ModelConfig
) -> None:
    saved = trained_state(model_config)
    saved.running_statistics.values.fill_(3.0)
    restored = start_training(model_config, OPTIMIZATION, seed=1, device=CPU)
    restore_training(restored, save(tmp_path, saved))
    assert torch.equal(restored.bank.flat, saved.bank.flat)
    assert torch.equal(restored.optimizer.mean, saved.optimizer.mean)
    assert torch.equal(restored.optimizer.norm, saved.optimizer.norm)
    assert torch.equal(restored.running_statistics.values, saved.running_statistics.values)


def test_moments_and_their_counts_have_the_names_of_the_parameters(
    model_config: ModelConfig,
) -> None:
    state = trained_state(model_config)
    tensors = state.training_tensors()
    for name, parameter in state.model.named_parameters():
        assert tensors[f"optimizer/exp_avg/{name}"].shape == parameter.shape
        assert tensors[f"optimizer/exp_inf/{name}"].shape == parameter.shape
        assert tensors[f"optimizer/step/{name}"].item() == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("optimizer/step/decoder.top_state", torch.tensor(9.0), r"updated \[1.0, 9.0\] times"),
        ("optimizer/exp_avg/decoder.top_state", torch.zeros(2), r"decoder.top_state is \(2,\)"),
        ("optimizer/exp_inf/decoder.top_state", None, "optimizer/exp_inf/decoder.top_state"),
    ],
    ids=["unequal counts", "another shape", "missing"],
)
def test_training_tensors_of_another_model_are_refused(
    model_config: ModelConfig, name: str, value: torch.Tensor | None, message: str
) -> None:
    state = trained_state(model_config)
    tensors = state.training_tensors() | ({} if value is None else {name: value})
    if value is None:
        del tensors[name]
    with pytest.raises((KeyError, RuntimeError), match=message):
        state.load_training_tensors(tensors)


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
@pytest.mark.parametrize("damage", ["flipped bit", "truncated", "missing"])
def test_damage_is_detected_and_the_file_named(
    tmp_path: Path, model_config: ModelConfig, name: str, damage: str
) -> None:
    path = save(tmp_path, trained_state(model_config))
    content = bytearray((path / name).read_bytes())
    if damage == "flipped bit":
        content[-1] ^= 1
        (path / name).write_bytes(content)
    elif damage == "truncated":
        (path / name).write_bytes(content[:-10])
    else:
        (path / name).unlink()
    with pytest.raises(CheckpointCorrupt, match=name):
        restore_training(trained_state(model_config), path)


def test_manifest_must_be_present_and_valid(tmp_path: Path, model_config: ModelConfig) -> None:
    with pytest.raises(CheckpointCorrupt, match=r"checkpoint\.json: No such file"):
        load_model(tmp_path, CPU)
    path = save(tmp_path, trained_state(model_config)) / "checkpoint.json"
    manifest = json.loads(path.read_text())
    manifest["model"]["num_latents_per_group"] = 0
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointCorrupt, match="num_latents_per_group"):
        load_model(path.parent, CPU)


def test_tensors_of_another_model_are_refused(tmp_path: Path, model_config: ModelConfig) -> None:
    path = save(tmp_path, trained_state(model_config)) / "checkpoint.json"
    manifest = json.loads(path.read_text())
    manifest["model"]["num_groups_per_scale"] = [1, 1]
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointCorrupt, match=r"model\.safetensors: missing: .*; unknown: "):
        load_model(path.parent, CPU)


def test_resuming_with_another_model_names_the_difference(
    tmp_path: Path, model_config: ModelConfig
) -> None:
    path = save(tmp_path, trained_state(model_config))
    wider = model_config.model_copy(update={"num_latents_per_group": 5})
    state = start_training(wider, OPTIMIZATION, seed=0, device=CPU)
    with pytest.raises(CheckpointCorrupt, match="num_latents_per_group is 5, in the checkpoint 3"):
        restore_training(state, path)
