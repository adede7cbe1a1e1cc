import torch

from nvae_core.evaluation.likelihood import score_images
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
