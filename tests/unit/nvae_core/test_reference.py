"""The model against numbers of the published implementation, where the fixtures are present."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nvae_core.config import ModelConfig
from nvae_core.evaluation.likelihood import score_images
from nvae_core.model.hierarchy import latent_groups
from nvae_core.model.layers import BatchNorm, Conv2d
from nvae_core.model.nvae import NVAE, build_model
from nvae_core.model.regularization import SpectralRegularizer, batch_norm_penalty, convolutions_of
from nvae_core.objective import balance_kl
from nvae_core.training.schedules import StepWeights, kl_weight, spectral_weight
from nvae_core.training.state import TrainingState
from nvae_core.training.step import take_step

REPOSITORY = Path(__file__).resolve().parents[3]
FIXTURES = Path(
    os.environ.get("NVAE_REFERENCE_FIXTURES", REPOSITORY.parent / "shared" / "fixtures" / "nvae")
)
CONFIG = ModelConfig(
    image_size=28,
    image_padding=2,
    num_groups_per_scale=(1, 2),
    num_latents_per_group=4,
    num_encoder_channels=3,
    num_decoder_channels=3,
    num_preprocess_blocks=2,
    num_cells_per_block=2,
    num_cells_per_group=1,
)

pytestmark = pytest.mark.skipif(
    not FIXTURES.is_dir(),
    reason="the reference fixtures are absent; NVAE_REFERENCE_FIXTURES names their folder",
)


def modules_in_published_order(model: NVAE) -> Iterator[nn.Module]:
    encoder, decoder, posteriors = model.encoder, model.decoder, list(model.posteriors)
    yield encoder.stem
    yield encoder.preprocess
    for index, stage in enumerate(encoder.tower):
        yield stage
        combiner = posteriors[len(posteriors) - 1 - index].combiner
        if combiner is not None:
            yield combiner
    yield encoder.top
    yield from (posterior.sampler for posterior in posteriors)
    yield from (group.prior_head for group in decoder.groups if group.prior_head is not None)
    for group in decoder.groups:
        yield group.cells
        yield group.combiner
    yield decoder.postprocess
    yield decoder.image_head


def convolutions_in_published_order(model: NVAE) -> list[Conv2d]:
    return [
        convolution
        for module in modules_in_published_order(model)
        for convolution in convolutions_of(module)
    ]


def parameters_in_published_order(model: NVAE) -> list[Tensor]:
    return [
        model.decoder.top_state,
        *(p for module in modules_in_published_order(model) for p in module.parameters()),
    ]


def load_published(model: NVAE, checkpoint: dict[str, Any]) -> None:
    ours = [
        model.decoder.top_state.detach(),
        *(
            value
            for module in modules_in_published_order(model)
            for value in module.state_dict().values()
        ),
    ]
    theirs = [
        value
        for name, value in checkpoint["state_dict"].items()
        if not name.endswith(("weight_normalized", "num_batches_tracked"))
    ]
    for mine, value in zip(ours, theirs, strict=True):
        assert mine.shape == value.shape
        mine.copy_(value)


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, Any]:
    path = FIXTURES / "mnist_bernoulli_2scale.pt"
    loaded: dict[str, Any] = torch.load(path, weights_only=False)
    return loaded


@pytest.fixture(scope="module")
def numbers() -> dict[str, Tensor]:
    with np.load(FIXTURES / "mnist_bernoulli_2scale.npz", allow_pickle=False) as file:
        return {
            name: torch.from_numpy(file[name]) if file[name].dtype.kind != "U" else file[name]
            for name in file.files
        }


@pytest.fixture
def model(checkpoint: dict[str, Any]) -> NVAE:
    built = build_model(CONFIG, seed=0)
    load_published(built, checkpoint)
    return built.eval()


def noise(numbers: dict[str, Tensor], prefix: str) -> list[Tensor]:
    return [numbers[f"{prefix}_{index:02d}"] for index in range(len(latent_groups(CONFIG)))]


def published_vectors(model: NVAE, numbers: dict[str, Tensor]) -> SpectralRegularizer:
    spectral = SpectralRegularizer(convolutions_in_published_order(model), torch.Generator())
    for name, buffer in spectral.named_buffers():
        side, _, shape = name.partition("_")
        if side in ("left", "right"):
            buffer.copy_(numbers[f"sr_{'u' if side == 'left' else 'v'}0_{shape}"])
    spectral.is_fresh.fill_(False)
    return spectral


def test_posterior_pass_matches_published_numbers(model: NVAE, numbers: dict[str, Tensor]) -> None:
    x = numbers["x"]
    with torch.no_grad():
        result = model(x, noise(numbers, "eps_q"))
    for index, group in enumerate(result.groups):
        torch.testing.assert_close(group.z, numbers[f"z_{index:02d}"], rtol=1e-4, atol=1e-5)
        for name, value in (
            ("q_mu", group.posterior.mean),
            ("q_sigma", group.posterior.sigma),
            ("p_mu", group.prior.mean),
            ("p_sigma", group.prior.sigma),
        ):
            expected = numbers[f"{name}_{index:02d}"].expand_as(value)
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(result.image.logits, numbers["logits"], **close)
    torch.testing.assert_close(result.image.log_prob(x), numbers["recon_log_prob"], **close)
    torch.testing.assert_close(result.kl_per_group(), numbers["kl_all"], **close)
    torch.testing.assert_close(result.importance_log_weight(x), numbers["log_iw"], **close)


def test_importance_weighted_estimate_matches_published_numbers(
    model: NVAE, numbers: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter(noise(numbers, f"eps_iw{k}") for k in range(3))
    monkeypatch.setattr(
        "nvae_core.evaluation.likelihood.draw_noise", lambda _shapes, _generator: next(draws)
    )
    scores = score_images(model, numbers["x"], num_samples=3, generator=torch.Generator())
    expected = numbers["iw_nll"]
    torch.testing.assert_close(scores.importance_weighted_nll, expected, rtol=1e-4, atol=1e-4)


def test_prior_sample_matches_published_numbers(model: NVAE, numbers: dict[str, Tensor]) -> None:
    with torch.no_grad():
        image = model.generate(noise(numbers, "eps_p"), 0.7)
    torch.testing.assert_close(image.logits, numbers["sample_t07_logits"], rtol=1e-4, atol=1e-4)
    expected = numbers["sample_t07_image"][:, :, 2:-2, 2:-2]
    torch.testing.assert_close(image.mean(), expected, rtol=1e-4, atol=1e-5)


def test_weight_penalties_match_published_numbers(model: NVAE, numbers: dict[str, Tensor]) -> None:
    spectral = published_vectors(model, numbers)
    convolutions = convolutions_in_published_order(model)
    for iterations in ("4", "8"):
        expected = numbers[f"sr_loss_{iterations}iter"]
        torch.testing.assert_close(spectral(convolutions), expected, rtol=1e-5, atol=0)
    first = published_vectors(model, numbers)
    first.is_fresh.fill_(True)
    torch.testing.assert_close(first(convolutions), numbers["sr_loss_40iter"], rtol=1e-5, atol=0)
    torch.testing.assert_close(batch_norm_penalty(model), numbers["bn_loss"], rtol=1e-6, atol=0)


def test_divided_balancing_matches_published_numbers(numbers: dict[str, Tensor]) -> None:
    balancing = balance_kl("divide", latent_groups(CONFIG))
    torch.testing.assert_close(balancing.sizes, numbers["alpha"])
    coefficients = balancing.coefficients(numbers["kl_all"].mean(dim=0))
    torch.testing.assert_close(coefficients, numbers["kl_gamma"][0], rtol=1e-5, atol=0)


def test_three_training_steps_match_published_numbers(
    model: NVAE,
    numbers: dict[str, Tensor],
    checkpoint: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The published singular vectors are in the published order of layers.
    monkeypatch.setattr(
        "nvae_core.training.step.convolutions_of", lambda _: convolutions_in_published_order(model)
    )
    lambda_, beta, learning_rate = numbers["train_consts"].tolist()
    state = resume_published(model, numbers, checkpoint)
    model.train()
    for step in range(3):
        outcome = take_step(
            state,
            numbers[f"train_x_{step}"],
            noise(numbers, f"eps_train{step}"),
            weights=StepWeights(learning_rate, kl_weight=beta, spectral_weight=lambda_),
            balancing=balance_kl("divide", latent_groups(CONFIG)),
            penalize_batch_norm=True,
            stop_requested=False,
        )
        recon, _, sr, bn, total = numbers["train_components"][step].tolist()
        assert outcome.values["reconstruction_loss"] == pytest.approx(recon, rel=1e-4)
        assert outcome.values["spectral_norm_sum"] == pytest.approx(sr, rel=1e-4)
        assert outcome.values["batch_norm_penalty"] == pytest.approx(bn, rel=1e-4)
        assert outcome.values["loss"] == pytest.approx(total, rel=1e-4)
        norms = torch.stack([p.detach().norm() for p in parameters_in_published_order(model)])
        torch.testing.assert_close(
            norms.double(), numbers["train_param_norm"][step], rtol=1e-4, atol=1e-4
        )
    norms_of_batch_norm = [
        m
        for module in modules_in_published_order(model)
        for m in module.modules()
        if isinstance(m, BatchNorm)
    ]
    variances = torch.stack([m.running_var.norm() for m in norms_of_batch_norm]).double()
    torch.testing.assert_close(
        variances, numbers["train_bn_running_var_norm"], rtol=1e-4, atol=1e-5
    )
    means = torch.stack([m.running_mean.norm() for m in norms_of_batch_norm]).double()
    torch.testing.assert_close(means, numbers["train_bn_running_mean_norm"], rtol=1e-4, atol=1e-5)


def resume_published(
    model: NVAE, numbers: dict[str, Tensor], checkpoint: dict[str, Any]
) -> TrainingState:
    ours = parameters_in_published_order(model)
    optimizer = torch.optim.Adamax(ours, eps=1e-3, weight_decay=3e-4, foreach=True)
    states = checkpoint["optimizer"]["state"]
    for index, parameter in enumerate(ours):
        optimizer.state[parameter] = {
            "step": torch.tensor(float(states[index]["step"])),
            "exp_avg": states[index]["exp_avg"].clone(),
            "exp_inf": states[index]["exp_inf"].clone(),
        }
    spectral = published_vectors(model, numbers)
    return TrainingState(model, optimizer, spectral)


def test_schedules_match_published_tables() -> None:
    tables = json.loads((FIXTURES / "tables.json").read_text())
    coefficients = tables["kl_coeff"]
    for step, expected in coefficients["values"].items():
        value = kl_weight(int(step), num_steps=1000, warmup_fraction=0.3, minimum=1e-4)
        assert value == pytest.approx(expected, rel=1e-9)
    for name, values in tables["lambda_anneal_by_kl_coeff"].items():
        initial, final = map(float, name.split("->"))
        for beta, expected in values.items():
            value = spectral_weight(float(beta), final=final, initial=initial)
            assert value == pytest.approx(expected, rel=1e-9)
