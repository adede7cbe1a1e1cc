"""One published model: passes, terms of the objective, and steps of its training."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from nvae_core.data.preprocess import reduce_bit_depth
from nvae_core.evaluation.estimates import ACTIVE_CHANNEL_KL
from nvae_core.evaluation.likelihood import score_images
from nvae_core.importing.names import (
    modules_in_published_order,
    paired_parameters,
)
from nvae_core.losses import SpectralRegularizer, balance_kl, batch_norm_penalty
from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.convolutions import Conv2d
from nvae_core.model.distributions import LogisticMixtureImage, crop
from nvae_core.model.nvae import NVAE, NVAEOutput
from nvae_core.training.schedules import Schedule
from nvae_core.training.state import TrainingState
from nvae_core.training.step import take_step
from nvae_core.verification.comparison import (
    Comparison,
    Fixture,
    compare,
    compare_each,
    exactly,
    read_arrays,
)

SAMPLE_TEMPERATURE = 0.7
COMPONENTS = (
    "reconstruction_loss",
    "weighted_kl",
    "spectral_norm_sum",
    "batch_norm_penalty",
    "loss",
)
# The reference itself is rounded. Where a batch norm cancels what a parameter does, all of its
# gradient is rounding: measured against float64, 1e-9 to 2e-8 of the norm of all gradients.
NOISE_NORM = 1e-4
NOISE_FRACTION = 1e-7
# Relative to these a bound of 1e-4 is 1e-5, and 2e-7 of the norm of all gradients.
NOISE_SCALE = 0.1
NOISE_SCALE_FRACTION = 2e-3


def compare_model(path: Path) -> Iterator[Comparison]:
    """Compare all that `NAME.npz` holds with the model of `NAME.pt`."""
    fixture = Fixture(path.with_suffix(".pt"), read_arrays(path))
    model = fixture.load().model
    if "logits" in fixture.arrays:
        yield from _compare_posterior_pass(fixture, model)
    if "sr_shapes" in fixture.arrays:
        yield from _compare_penalties(fixture, fixture.load())
    if "kl_gamma" in fixture.arrays:
        yield from _compare_balancing(fixture, model)
    if "sample_t07_logits" in fixture.arrays:
        yield from _compare_prior_sample(fixture, model)
    if "iw_log_w" in fixture.arrays:
        yield from _compare_importance_samples(fixture, model)
    if "train_components" in fixture.arrays:
        yield from _compare_training_steps(fixture, fixture.load())


@torch.no_grad()
def _compare_posterior_pass(fixture: Fixture, model: NVAE) -> Iterator[Comparison]:
    """A: encode and reconstruct the images x with the noise eps_q."""
    x, raw = fixture.tensor("x"), fixture.tensor("x_raw")
    levels = (raw * 255.0).round().to(torch.uint8)
    yield fixture.compare("x", reduce_bit_depth(levels, model.config.bit_depth))
    with _image_logits(model) as logits:
        result = model(x, fixture.per_group("eps_q", model))
    yield fixture.compare("logits", logits[0])
    yield from _compare_groups(fixture, model, result)
    yield from _compare_divergences(fixture, result)
    yield from _compare_likelihood(fixture, model, result)


@contextmanager
def _image_logits(model: NVAE) -> Iterator[list[Tensor]]:
    """Collect what the model's last convolution returns."""
    logits: list[Tensor] = []
    hook = model.decoder.image_head.register_forward_hook(lambda *call: logits.append(call[2]))
    try:
        yield logits
    finally:
        hook.remove()


@torch.no_grad()
def _compare_prior_sample(fixture: Fixture, model: NVAE) -> Iterator[Comparison]:
    """D: sample the prior with the noise eps_p."""
    noise = fixture.per_group("eps_p", model)
    with _image_logits(model) as logits:
        sample = model.generate(noise, batch_size=1, temperature=SAMPLE_TEMPERATURE)
    yield fixture.compare("sample_t07_logits", logits[0])
    image = sample.image
    if not isinstance(image, LogisticMixtureImage):
        expected = crop(fixture.tensor("sample_t07_image"), model.config.image_padding)
        yield compare("sample_t07_image", image.mean(), expected)
        return
    yield fixture.compare("sample_t07_image_mean", image.mean())
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
        yield fixture.compare(name, drawn)


@torch.no_grad()
def _compare_importance_samples(fixture: Fixture, model: NVAE) -> Iterator[Comparison]:
    """E: the importance-weighted likelihood of the images x by K samples."""
    x, log_weights = fixture.tensor("x"), fixture.tensor("iw_log_w")
    num_samples = log_weights.shape[1]
    noise = [fixture.per_group(f"eps_iw{index}", model) for index in range(num_samples)]
    ours = [model(x, draw).importance_log_weight(x) for draw in noise]
    yield compare_each("iw_log_w", torch.stack(ours, dim=1), log_weights)
    scores = score_images(model, x, noise)
    yield fixture.compare_each("iw_nll", scores.importance_weighted_nll)


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
    yield fixture.compare("log_q_group", log_q)
    yield fixture.compare("log_p_group", log_p)
    yield fixture.compare_each("log_q", log_q.sum(dim=1))
    yield fixture.compare_each("log_p", log_p.sum(dim=1))
    kl_per_channel = result.kl_per_channel()
    yield fixture.compare("kl_all", kl_per_channel.sum(dim=2))
    kl_diag = kl_per_channel.mean(dim=0)
    yield fixture.compare("kl_diag", kl_diag)
    num_active = (kl_diag > ACTIVE_CHANNEL_KL).sum(dim=1)
    yield fixture.exactly("num_active_channels", num_active)


def _compare_likelihood(fixture: Fixture, model: NVAE, result: NVAEOutput) -> Iterator[Comparison]:
    x = fixture.tensor("x")
    log_prob_map = result.image.log_prob_map(x)
    reference = fixture.tensor("recon_log_prob_map")
    expected = crop(reference.reshape(len(x), *reference.shape[-2:]), model.config.image_padding)
    yield compare("recon_log_prob_map", log_prob_map, expected)
    yield fixture.compare_each("recon_log_prob", result.log_prob(x))
    nelbo = result.kl_per_channel().sum(dim=(1, 2)) - result.log_prob(x)
    yield fixture.compare_each("nelbo", nelbo)
    bits_per_dim = nelbo / (math.log(2) * model.config.num_dimensions)
    yield fixture.compare_each("bpd_elbo", bits_per_dim)
    yield fixture.compare_each("log_iw", result.importance_log_weight(x))


@torch.no_grad()
def _compare_penalties(fixture: Fixture, state: TrainingState) -> Iterator[Comparison]:
    """B: the spectral regularization after 4, 8 and 40 iterations, and the batch-norm penalty."""
    model = state.model
    in_order = _by_shape(modules_in_published_order(model, Conv2d))
    shapes = [(*shape, len(layers)) for shape, layers in in_order.items()]
    yield fixture.exactly("sr_shapes", torch.tensor(shapes))
    exact = torch.tensor([_sum_of_norms(layers) for layers in in_order.values()])
    yield fixture.compare_each("sr_exact_by_shape", exact)
    yield fixture.compare_each("sr_exact_total", exact.sum())
    _load_singular_vectors(fixture, state.spectral, model, is_fresh=False)
    with state.bank.applied() as weights:
        for name in ("sr_loss_4iter", "sr_loss_8iter"):
            yield fixture.compare_each(name, state.spectral(weights.matrices))
        _load_singular_vectors(fixture, state.spectral, model, is_fresh=True)
        yield fixture.compare_each("sr_loss_40iter", state.spectral(weights.matrices))
        penalty = batch_norm_penalty(weights.norm_scales, torch.zeros(()))
        yield fixture.compare_each("bn_loss", penalty)


def _compare_balancing(fixture: Fixture, model: NVAE) -> Iterator[Comparison]:
    """C: the published rule of KL balancing, on the divergences `kl_all`."""
    kl = fixture.tensor("kl_all")
    balancing = balance_kl("divide", model.hierarchy.groups)
    yield fixture.compare_each("alpha", balancing.sizes)
    for index, beta in enumerate(fixture.tensor("kl_coeff_values").tolist()):
        gamma = balancing.coefficients(kl) if beta < 1 else torch.ones_like(kl[0])
        yield compare_each("kl_gamma", gamma, fixture.tensor("kl_gamma")[index])
        balanced = beta * (gamma * kl).sum(dim=1)
        yield compare_each("balanced_kl", balanced, fixture.tensor("balanced_kl")[index])


def _load_singular_vectors(
    fixture: Fixture, spectral: SpectralRegularizer, model: NVAE, *, is_fresh: bool
) -> None:
    """Start the power iteration from the reference's vectors, which are in its order of layers."""
    ours = _by_shape([m for m in model.modules() if isinstance(m, Conv2d)])
    for (rows, columns), layers in _by_shape(modules_in_published_order(model, Conv2d)).items():
        theirs = {id(layer): index for index, layer in enumerate(layers)}
        order = [theirs[id(layer)] for layer in ours[rows, columns]]
        left = fixture.tensor(f"sr_u0_{rows}x{columns}")[order]
        right = fixture.tensor(f"sr_v0_{rows}x{columns}")[order]
        # Its columns are in the order of (Cin, k, k).
        reordered = [
            vector.view(layer.weight.shape[1:]).permute(1, 2, 0).flatten()
            for vector, layer in zip(right, ours[rows, columns], strict=True)
        ]
        spectral.get_buffer(f"left_{rows}x{columns}").copy_(left)
        spectral.get_buffer(f"right_{rows}x{columns}").copy_(torch.stack(reordered))
    spectral.is_fresh = is_fresh


def _by_shape(convolutions: list[Conv2d]) -> dict[tuple[int, int], list[Conv2d]]:
    groups: dict[tuple[int, int], list[Conv2d]] = {}
    for convolution in convolutions:
        rows = convolution.weight.shape[0]
        groups.setdefault((rows, convolution.weight.numel() // rows), []).append(convolution)
    return groups


def _sum_of_norms(convolutions: list[Conv2d]) -> float:
    matrices: list[Tensor] = [layer.effective_weight().flatten(1) for layer in convolutions]
    return float(torch.linalg.matrix_norm(torch.stack(matrices).double(), ord=2).sum())


def _compare_training_steps(fixture: Fixture, state: TrainingState) -> Iterator[Comparison]:
    """F: loss, gradients, updated parameters and statistics, step by step."""
    model = state.model
    names = [pair.published for pair in paired_parameters(model)]
    has_names = names == [str(name) for name in fixture.arrays["param_names"]]
    yield exactly("param_names", [float(has_names)], [1.0])
    _load_singular_vectors(fixture, state.spectral, model, is_fresh=False)
    model.train()
    gradients = _record_gradients(state)
    for step in range(len(fixture.tensor("train_components"))):
        yield from _compare_components(fixture, state, step)
        by_name = state.bank.views(gradients[step])
        yield from _compare_parameters(fixture, model, by_name, step)
    yield from _compare_statistics(fixture, model)


def _compare_components(fixture: Fixture, state: TrainingState, step: int) -> Iterator[Comparison]:
    """Take a training step, and compare the terms of its loss."""
    spectral_weight, kl_weight, learning_rate = fixture.tensor("train_consts").tolist()
    outcome = take_step(
        state,
        fixture.tensor(f"train_x_{step}"),
        fixture.per_group(f"eps_train{step}", state.model),
        schedule=Schedule(learning_rate, kl_weight=kl_weight, spectral_weight=spectral_weight),
        balancing=balance_kl("divide", state.model.hierarchy.groups),
        penalize_batch_norm=True,
        stop_requested=False,
    )
    references = fixture.tensor("train_components")[step].tolist()
    for component, reference in zip(COMPONENTS, references, strict=True):
        ours = outcome.values[component]
        yield compare_each(f"train_components/{component}", [ours], [reference])


def _compare_parameters(
    fixture: Fixture, model: NVAE, by_name: Mapping[str, Tensor], step: int
) -> Iterator[Comparison]:
    pairs = list(paired_parameters(model))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    gradients = [by_name[names[id(pair.tensor)]].double().norm() for pair in pairs]
    references = fixture.tensor("train_grad_norm")[: step + 1]
    totals = references.norm(dim=1)  # of all parameters, at each step so far
    noise_scale = (NOISE_SCALE_FRACTION * totals.max()).clamp_min(NOISE_SCALE)
    scale = references[step] + noise_scale
    yield compare("train_grad_norm", torch.stack(gradients), references[step], scale=scale)
    noise_norms = (NOISE_FRACTION * totals).clamp_min(NOISE_NORM)
    is_noise = (references < noise_norms[:, None]).any(dim=0)
    values = [pair.tensor.detach().double() for pair in pairs]
    norms = torch.stack([value.norm() for value in values])
    reference_norms = fixture.tensor("train_param_norm")[step]
    scale = torch.where(is_noise, noise_scale, reference_norms)
    yield compare("train_param_norm", norms, reference_norms, scale=scale)
    signs = torch.tensor([-1.0 if pair.is_negated else 1.0 for pair in pairs])
    sums = signs * torch.stack([value.sum() for value in values])
    reference_sums = fixture.tensor("train_param_sum")[step]
    # Sums of many signs cancel: relative to the norm where that is larger. A sum of n values
    # differs by at most sqrt(n) times as much as their norm.
    widths = torch.tensor([float(value.numel()) for value in values]).sqrt()
    scale = torch.maximum(torch.where(is_noise, widths * scale, scale), reference_sums.abs())
    yield compare("train_param_sum", sums, reference_sums, scale=scale)


def _compare_statistics(fixture: Fixture, model: NVAE) -> Iterator[Comparison]:
    norms = modules_in_published_order(model, BatchNorm)
    if not norms:
        return
    means = torch.stack([norm.running_mean.double().norm() for norm in norms])
    variances = torch.stack([norm.running_var.double().norm() for norm in norms])
    reference_means = fixture.tensor("train_bn_running_mean_norm")
    reference_variances = fixture.tensor("train_bn_running_var_norm")
    # Means can be 0 but for rounding: relative to the deviation too.
    scale = reference_means + reference_variances.sqrt()
    yield compare("train_bn_running_mean_norm", means, reference_means, scale=scale)
    yield compare_each("train_bn_running_var_norm", variances, reference_variances)


def _record_gradients(state: TrainingState) -> list[Tensor]:
    """Return a list that the gradients of each step from now on are added to."""
    gradients: list[Tensor] = []
    update = state.optimizer.update

    def update_and_record(flat: Tensor, rate: Tensor, is_taken: Tensor) -> None:
        gradients.append(flat.clone())
        update(flat, rate, is_taken)

    state.optimizer.update = update_and_record  # type: ignore[method-assign, assignment]
    return gradients
