import math

import pytest
import torch

from nvae_core.evaluation.likelihood import estimate_likelihood, score_images
from nvae_core.model.noise import draw_noise
from nvae_core.model.nvae import NVAE


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_one_sample_is_the_elbo_of_that_sample(model: NVAE, padded_images: torch.Tensor) -> None:
    scores = score_images(model.eval(), padded_images, [generator()])
    with torch.no_grad():
        result = model(padded_images, draw_noise(model.noise_shapes(4), generator()))
    log_ratio = sum(
        (group.posterior.log_density(group.z) - group.prior.log_density(group.z)).sum(dim=(1, 2, 3))
        for group in result.groups
    )
    recon = -result.log_prob(padded_images)
    torch.testing.assert_close(scores.importance_weighted_nll, recon + log_ratio)
    torch.testing.assert_close(
        scores.negative_elbo, recon + result.kl_per_channel().sum(dim=(1, 2))
    )


def test_more_samples_tighten_the_bound(model: NVAE, padded_images: torch.Tensor) -> None:
    scores = score_images(model.eval(), padded_images, [generator()] * 64)
    assert (scores.importance_weighted_nll < scores.negative_elbo).all()


def test_running_estimates_are_means_over_all_images(
    model: NVAE, padded_images: torch.Tensor
) -> None:
    batches = [padded_images, padded_images[:1]]
    steps = [
        (running.num_images, running.values())
        for running in estimate_likelihood(model, batches, num_samples=2, generator=generator())
    ]
    assert [num_images for num_images, _ in steps] == [4, 5]
    g = generator()
    parts = [score_images(model, x, [g, g]) for x in batches]
    negative_elbo = torch.cat([part.negative_elbo for part in parts])
    nll = torch.cat([part.importance_weighted_nll for part in parts]).mean().item()
    values = steps[-1][1]
    assert values["negative_elbo"] == pytest.approx(negative_elbo.mean().item())
    error = negative_elbo.std().item() / math.sqrt(5)
    assert values["negative_elbo_standard_error"] == pytest.approx(error)
    assert values["importance_weighted_nll"] == pytest.approx(nll)
    assert values["bits_per_dim"] == pytest.approx(nll / (144 * math.log(2)))
    kl = torch.cat([part.kl_per_group for part in parts]).mean(dim=0)
    assert values["kl/group_02"] == pytest.approx(kl[2].item())
