import torch

from nvae_core.losses import SpectralRegularizer, batch_norm_penalty
from nvae_core.model.batch_norm import BatchNorm
from nvae_core.model.convolutions import Conv2d, WeightNormConv2d


def layers() -> list[Conv2d]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [
            WeightNormConv2d(3, 6, 3),
            WeightNormConv2d(3, 6, 3),
            Conv2d(6, 6, 5, groups=6, bias=False),
            Conv2d(6, 2, 1, bias=False),
        ]


def singular_values(convolutions: list[Conv2d]) -> torch.Tensor:
    matrices = [layer.effective_weight().flatten(1) for layer in convolutions]
    return torch.stack([torch.linalg.matrix_norm(matrix, 2) for matrix in matrices])


def test_term_converges_to_the_largest_singular_values() -> None:
    convolutions = layers()
    spectral = SpectralRegularizer(convolutions, torch.Generator().manual_seed(0))
    for _ in range(50):
        term = spectral(convolutions)
    torch.testing.assert_close(term, singular_values(convolutions).sum(), rtol=1e-4, atol=0)


def test_gradient_is_the_outer_product_of_the_singular_vectors() -> None:
    convolution = Conv2d(4, 3, 1, bias=False)
    spectral = SpectralRegularizer([convolution], torch.Generator().manual_seed(0))
    for _ in range(50):
        spectral([convolution])
    spectral([convolution]).backward()
    u, _, v = torch.linalg.svd(convolution.weight.detach().flatten(1))
    gradient = convolution.weight.grad
    assert gradient is not None
    torch.testing.assert_close(
        gradient.flatten(1), torch.outer(u[:, 0], v[0]), rtol=1e-3, atol=1e-4
    )


def test_first_use_iterates_longer() -> None:
    convolutions = layers()
    spectral = SpectralRegularizer(convolutions, torch.Generator().manual_seed(0))
    first = spectral(convolutions)
    torch.testing.assert_close(first, singular_values(convolutions).sum(), rtol=1e-2, atol=0)
    assert not spectral.is_fresh


def test_vectors_continue_from_a_saved_state() -> None:
    convolutions = layers()
    spectral = SpectralRegularizer(convolutions, torch.Generator().manual_seed(0))
    spectral(convolutions)
    resumed = SpectralRegularizer(convolutions, torch.Generator().manual_seed(1))
    resumed.load_state_dict(spectral.state_dict())
    assert torch.equal(resumed(convolutions), spectral(convolutions))


def test_saved_state_says_whether_it_was_used() -> None:
    fresh, used, resumed = (
        SpectralRegularizer(layers(), torch.Generator().manual_seed(seed)) for seed in range(3)
    )
    used(layers())
    resumed.load_state_dict(used.state_dict())
    assert not resumed.is_fresh
    resumed.load_state_dict(fresh.state_dict())
    assert resumed.is_fresh


def test_batch_norm_penalty_sums_the_largest_weights() -> None:
    model = torch.nn.Sequential(BatchNorm(3), BatchNorm(3), BatchNorm(2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -4.0, 2.0]))
        model[2].weight.copy_(torch.tensor([0.5, 0.25]))
    assert batch_norm_penalty(model).item() == 4 + 1 + 0.5


def test_sum_of_norms_is_taken_in_single_precision() -> None:
    convolutions = [Conv2d(8, 8, 3)]
    spectral = SpectralRegularizer(convolutions, torch.Generator().manual_seed(0))
    expected = spectral(convolutions)
    again = SpectralRegularizer(convolutions, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(again(convolutions), expected)
