import torch

from nvae_core.model.batch_norm import BatchNorm


def test_batch_norm_equals_torchs() -> None:
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm2d(3, eps=1e-5, momentum=0.05)
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
