"""Passes of the model in evaluation mode: posterior (A), prior (D), importance samples (E)."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from nvae_core.data.pixels import reduce_bit_depth
from nvae_core.evaluation.estimates import ACTIVE_CHANNEL_KL
from nvae_core.evaluation.likelihood import score_images
from nvae_core.model.distributions import LogisticMixtureImage, crop
from nvae_core.model.nvae import NVAE, NVAEOutput
from nvae_core.verification.comparison import Comparison, compare, compare_each, exactly
from nvae_core.verification.fixture import Fixture

SAMPLE_TEMPERATURE = 0.7


@torch.no_grad()
def compare_posterior_pass(fixture: Fixture, model: NVAE) -> Iterator[Comparison]:
    """A: encode and reconstruct the images x with the noise eps_q."""
    x, raw = fixture.tensor("x"), fixture.tensor("x_raw")
    levels = (raw * 255.0).round().to(torch.uint8)
    yield compare("x", reduce_bit_depth(levels, model.config.bit_depth), x)
    logits: list[Tensor] = []
    hook = model.decoder.image_head.register_forward_hook(lambda *call: logits.append(call[2]))
    try:
        result = model(x, fixture.per_group("eps_q", model))
    finally:
        hook.remove()
    yield compare("logits", logits[0], fixture.tensor("logits"))
    yield from _compare_groups(fixture, model, result)
    yield from _compare_divergences(fixture, result)
    yield from _compare_likelihood(fixture, model, result)


@torch.no_grad()
def compare_prior_sample(fixture: Fixture, model: NVAE) -> Iterator[Comparison]:
    """D: sample the prior with the noise eps_p."""
    logits: list[Tensor] = []
    hook = model.decoder.image_head.register_forward_hook(lambda *call: logits.append(call[2]))
    try:
        sample = model.generate(
            fixture.per_group("eps_p", model), batch_size=1, temperature=SAMPLE_TEMPERATURE
        )
    finally:
        hook.remove()
    yield compare("sample_t07_logits", logits[0], fixture.tensor("sample_t07_logits"))
    image = sample.image
    if not isinstance(image, LogisticMixtureImage):
        expected = crop(fixture.tensor("sample_t07_image"), model.config.image_padding)
        yield compare("sample_t07_image", image.mean(), expected)
        return
    yield compare("sample_t07_image_mean", image.mean(), fixture.tensor("sample_t07_image_mean"))
    # The published temperature divides the scale, where ours multiplies it.
    for name, choice_temperature, scale_temperature in (
        ("sample_t07_image_px_t1", 1.0, 1.0),
        ("sample_t07_image_px_t07_official", SAMPLE_TEMPERATURE, 1.0 / SAMPLE_TEMPERATURE),
    ):
        drawn = image.draw_from(
            fixture.tensor("u_mix"),
            fixture.tensor("u_logistic"),
            choice_temperature=choice_temperature,
            scale_temperature=scale_temperature,
        )
        yield compare(name, drawn, fixture.tensor(name))


@torch.no_grad()
def compare_importance_samples(fixture: Fixture, model: NVAE) -> Iterator[Comparison]:
    """E: the importance-weighted likelihood of the images x by K samples."""
    x, log_weights = fixture.tensor("x"), fixture.tensor("iw_log_w")
    num_samples = log_weights.shape[1]
    noise = [fixture.per_group(f"eps_iw{index}", model) for index in range(num_samples)]
    ours = [model(x, draw).importance_log_weight(x) for draw in noise]
    yield compare_each("iw_log_w", torch.stack(ours, dim=1), log_weights)
    scores = score_images(model, x, noise)
    yield compare_each("iw_nll", scores.importance_weighted_nll, fixture.tensor("iw_nll"))


def _compare_groups(fixture: Fixture, model: NVAE, result: NVAEOutput) -> Iterator[Comparison]:
    for name, ours in (
        ("q_mu", [group.posterior.mean for group in result.groups]),
        ("q_sigma", [group.posterior.sigma for group in result.groups]),
        ("p_mu", [group.prior.mean for group in result.groups]),
        ("p_sigma", [group.prior.sigma for group in result.groups]),
        ("z", [group.z for group in result.groups]),
    ):
        for value, reference in zip(ours, fixture.per_group(name, model), strict=True):
            # The mean of the first prior is 0: errors are relative to a standard deviation of 1.
            scale = reference.abs().max().clamp_min(1e-3)
            yield compare(name, value, reference.expand_as(value), scale=scale)


def _compare_divergences(fixture: Fixture, result: NVAEOutput) -> Iterator[Comparison]:
    log_q = torch.stack([group.log_posterior().sum(dim=(1, 2, 3)) for group in result.groups], 1)
    log_p = torch.stack([group.log_prior().sum(dim=(1, 2, 3)) for group in result.groups], 1)
    yield compare("log_q_group", log_q, fixture.tensor("log_q_group"))
    yield compare("log_p_group", log_p, fixture.tensor("log_p_group"))
    yield compare_each("log_q", log_q.sum(dim=1), fixture.tensor("log_q"))
    yield compare_each("log_p", log_p.sum(dim=1), fixture.tensor("log_p"))
    kl_per_channel = result.kl_per_channel()
    yield compare("kl_all", kl_per_channel.sum(dim=2), fixture.tensor("kl_all"))
    kl_diag = kl_per_channel.mean(dim=0)
    yield compare("kl_diag", kl_diag, fixture.tensor("kl_diag"))
    num_active = (kl_diag > ACTIVE_CHANNEL_KL).sum(dim=1)
    yield exactly("num_active_channels", num_active, fixture.tensor("num_active_channels"))


def _compare_likelihood(fixture: Fixture, model: NVAE, result: NVAEOutput) -> Iterator[Comparison]:
    x = fixture.tensor("x")
    log_prob_map = result.image.log_prob_map(x)
    reference = fixture.tensor("recon_log_prob_map")
    expected = crop(reference.reshape(len(x), *reference.shape[-2:]), model.config.image_padding)
    yield compare("recon_log_prob_map", log_prob_map, expected)
    yield compare_each("recon_log_prob", result.log_prob(x), fixture.tensor("recon_log_prob"))
    nelbo = result.kl_per_channel().sum(dim=(1, 2)) - result.log_prob(x)
    yield compare_each("nelbo", nelbo, fixture.tensor("nelbo"))
    bits_per_dim = nelbo / (math.log(2) * model.config.num_dimensions)
    yield compare_each("bpd_elbo", bits_per_dim, fixture.tensor("bpd_elbo"))
    yield compare_each("log_iw", result.importance_log_weight(x), fixture.tensor("log_iw"))
