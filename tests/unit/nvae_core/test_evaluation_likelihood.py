import pytest
import torch

from nvae_core.evaluation.likelihood import SampleScores, StreamingEstimate, score_images
from nvae_core.model.nvae import NVAE
from nvae_core.seeding import draw_noise


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
    torch.testing.assert_close(scores.importance_weighted_nll.float(), recon + log_ratio)
    torch.testing.assert_close(
        scores.negative_elbo.float(), recon + result.kl_per_channel().sum(dim=(1, 2))
    )


def test_more_samples_tighten_the_bound(model: NVAE, padded_images: torch.Tensor) -> None:
    scores = score_images(model.eval(), padded_images, [generator()] * 64)
    assert (scores.importance_weighted_nll < scores.negative_elbo).all()


def test_ten_thousand_samples_of_a_large_image_lose_no_digits() -> None:
    estimate, in_a_pass = StreamingEstimate(), 10
    for _ in range(1000):
        scores = SampleScores(
            log_prob=torch.full((in_a_pass, 1), -200_000.25),
            log_ratio=torch.full((in_a_pass, 1), -0.0078125),
            kl_per_group=torch.tensor([3000.125, 0.0078125]).expand(in_a_pass, 1, 2),
        )
        estimate.add(scores)
    result = estimate.result()
    assert result.importance_weighted_nll.item() == pytest.approx(200_000.2578125, abs=1e-6)
    assert result.negative_elbo.item() == pytest.approx(203_000.3828125, abs=1e-6)
    assert result.kl_per_group[0].tolist() == pytest.approx([3000.125, 0.0078125], abs=1e-6)
