"""The model against numbers of the published implementation, where they are present."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nvae_core.verification.comparison import compare, compare_each, exactly
from nvae_core.verification.folder import verify_folder

REPOSITORY = Path(__file__).resolve().parents[3]
FIXTURES = Path(
    os.environ.get("NVAE_REFERENCE_FIXTURES", REPOSITORY.parent / "shared" / "fixtures" / "nvae")
)
needs_fixtures = pytest.mark.skipif(
    not FIXTURES.is_dir(),
    reason="the reference fixtures are absent; NVAE_REFERENCE_FIXTURES names their folder",
)
MODEL_QUANTITIES = {
    *("x", "logits", "q_mu", "q_sigma", "p_mu", "p_sigma", "z", "log_q", "log_p", "log_iw"),
    *("kl_all", "kl_diag", "recon_log_prob_map", "nelbo", "bpd_elbo", "num_active_channels"),
    *("sr_shapes", "sr_exact_by_shape", "sr_loss_4iter", "sr_loss_8iter", "sr_loss_40iter"),
    *("bn_loss", "alpha", "kl_gamma", "balanced_kl", "sample_t07_logits", "iw_log_w", "iw_nll"),
    *("train_components/weighted_kl", "train_components/loss", "train_grad_norm"),
    *("train_param_norm", "train_param_sum", "train_bn_running_mean_norm"),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@needs_fixtures
def test_everything_agrees_with_the_published_numbers() -> None:
    reports = {report.name: report for report in verify_folder(FIXTURES)}
    assert {"masks_cells.npz", "tables.json"} < reports.keys()
    for report in reports.values():
        assert report.problem is None
        assert [c for c in report.comparisons.values() if not c.is_within] == []
        if report.name not in ("masks_cells.npz", "tables.json"):
            assert report.comparisons.keys() >= MODEL_QUANTITIES
            # Forward passes agree to rounding, far within the bound.
            assert report.comparisons["nelbo"].error < 1e-6


@needs_fixtures
def test_wrong_number_is_out_of_bounds(tmp_path: Path) -> None:
    name = "mnist_bernoulli_2scale"
    shutil.copy(FIXTURES / f"{name}.pt", tmp_path)
    with np.load(FIXTURES / f"{name}.npz") as file:
        arrays = dict(file)
    arrays["iw_nll"] = arrays["iw_nll"] * np.array([1, 1, 1.001, 1])
    np.savez(tmp_path / f"{name}.npz", **arrays)
    (report,) = verify_folder(tmp_path)
    assert not report.is_within
    failed = [c.quantity for c in report.comparisons.values() if not c.is_within]
    assert failed == ["iw_nll"]


def test_damaged_and_foreign_files_are_reported_and_the_others_still_checked(
    tmp_path: Path,
) -> None:
    (tmp_path / "lonely.npz").write_bytes(b"PK")
    np.savez(tmp_path / "orphan.npz", x=np.zeros(2))
    np.savez(tmp_path / "masks_cells.npz", mask_k3_in1_g1_out1_zd1_mirror0=np.zeros((1, 1, 3, 3)))
    schedule = {"num_total_iter": 100, "anneal_portion": 0.3, "const_coeff": 1e-4}
    (tmp_path / "tables.json").write_text(
        json.dumps({"kl_coeff": schedule | {"values": {"99": 1.0}}})
    )
    reports = {report.name: report for report in verify_folder(tmp_path)}
    assert "lonely.npz" in str(reports["lonely.npz"].problem)
    assert "orphan.pt: there is no such file" in str(reports["orphan.npz"].problem)
    assert not reports["masks_cells.npz"].is_within
    assert reports["masks_cells.npz"].problem is None
    assert reports["tables.json"].is_within


def test_file_of_which_nothing_is_compared_is_no_success(tmp_path: Path) -> None:
    np.savez(tmp_path / "masks_cells.npz", something=np.zeros(2))
    (tmp_path / "tables.json").write_text('{"lr_trace": []}')
    for report in verify_folder(tmp_path):
        assert not report.is_within
        assert "nothing in it that we know how to compare" in str(report.problem)


def test_error_is_relative_to_the_largest_value() -> None:
    assert compare("q", [1.0, 100.02], [1.0, 100.0]).error == pytest.approx(2e-4)
    assert compare_each("q", [1.01, 100.0], [1.0, 100.0]).error == pytest.approx(0.01)


@pytest.mark.parametrize("ours", [[float("nan"), 0.0], [float("inf"), 0.0], [1.0], [1.0, 2.0, 3.0]])
def test_numbers_that_cannot_be_compared_are_out_of_bounds(ours: list[float]) -> None:
    assert not compare("q", ours, [1.0, 0.0]).is_within
    assert not compare_each("q", ours, [1.0, 0.0]).is_within


def test_exact_numbers_leave_no_room() -> None:
    assert exactly("q", [1.0, 2.0], [1.0, 2.0]).is_within
    assert not exactly("q", [1.0, 2.0 + 1e-12], [1.0, 2.0]).is_within
