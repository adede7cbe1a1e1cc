import pytest
import torch

from nvae_core.model.flows import AutoregressiveTransform, build_flow


def random_transform(*, mirrored: bool) -> AutoregressiveTransform:
    transform = AutoregressiveTransform(3, mirrored=mirrored).double()
    for parameter in transform.parameters():  # far from the small b of the beginning
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    return transform


def jacobian_of_shift(transform: AutoregressiveTransform) -> torch.Tensor:
    """Return db/dz with rows and columns in the order of pixels, then channels."""
    z = torch.randn(1, 3, 4, 4, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    jacobian = torch.autograd.functional.jacobian(lambda z: transform(z) - z, z)
    ordered = jacobian[0, :, :, :, 0].permute(1, 2, 0, 4, 5, 3)
    return ordered.reshape(48, 48)


def test_each_latent_is_shifted_by_those_that_precede_it_only() -> None:
    jacobian = jacobian_of_shift(random_transform(mirrored=False))
    assert torch.equal(jacobian, jacobian.tril(-1))
    # It sees all the pixels within the 7x7 window of its two convolutions, not just some.
    assert (jacobian[30:, :30] != 0).float().mean() > 0.3


def test_mirrored_transform_sees_the_pixels_in_reverse_and_the_channels_in_order() -> None:
    jacobian = jacobian_of_shift(random_transform(mirrored=True))
    reversed_pixels = jacobian.reshape(16, 3, 16, 3).flip(0, 2).reshape(48, 48)
    assert torch.equal(reversed_pixels, reversed_pixels.tril(-1))


@pytest.mark.parametrize("num_transforms", [2, 4])
def test_flow_preserves_volume(num_transforms: int) -> None:
    flow = build_flow(3, num_transforms=num_transforms).double()
    z = torch.randn(1, 3, 4, 4, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    jacobian = torch.autograd.functional.jacobian(flow, z).reshape(48, 48)
    log_determinant = torch.linalg.slogdet(jacobian).logabsdet
    assert abs(log_determinant.item()) < 1e-10


def test_flow_begins_near_the_identity() -> None:
    z = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    shift = build_flow(5, num_transforms=2)(z) - z
    assert 0 < shift.abs().max() < 0.5


def test_no_transforms_are_the_identity() -> None:
    z = torch.randn(2, 5, 4, 4)
    assert build_flow(5, num_transforms=0)(z) is z
