"""The programs that work on files and presets, and not on run directories."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import forked_programs
import numpy as np
import pytest
import torch
from published_files import MODEL, save_published

from nvae_core.checkpoint import load_model
from nvae_core.model.nvae import build_model
from nvae_core.presets import PRESETS


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return forked_programs.run(f"nvae_core.cli.{program}", *arguments)


def run_in_new_interpreter(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"nvae_core.cli.{program}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_describe_gives_one_document_of_a_preset() -> None:
    done = run("describe", "mnist-released", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["num_parameters"] == 33_363_134
    assert document["latent_shapes"] == [[20, 4, 4]] * 5 + [[20, 8, 8]] * 10
    assert document["num_groups_per_scale"] == [5, 10]
    assert document["activation_bytes_per_image"] > 0
    assert document["flops_per_image"] > 0
    in_bf16 = document["activation_bytes_per_image_in_bf16"]
    assert 0.5 < in_bf16 / document["activation_bytes_per_image"] < 0.6
    assert document["training_bytes_per_rank_in_bf16"] < document["training_bytes_per_rank"]


def test_describe_says_it_in_words() -> None:
    done = run("describe", "celeba_hq_256")
    assert done.returncode == 0
    assert "330,798,664" in done.stdout
    assert "in bf16" in done.stdout
    assert "4 of 20x8x8, 4 of 20x16x16, 4 of 20x32x32, 8 of 20x64x64, 16 of 20x128" in done.stdout


def test_describe_names_the_presets_there_are() -> None:
    done = run_in_new_interpreter("describe", "cifar")
    assert done.returncode == 2
    assert all(name in done.stderr for name in PRESETS)


def test_imported_checkpoint_is_one_of_ours(tmp_path: Path) -> None:
    model = build_model(MODEL, seed=5).eval()
    source = save_published(tmp_path / "checkpoint.pt", model)
    done = run("import_checkpoint", source, tmp_path / "imported")
    assert (done.returncode, done.stderr) == (0, "")
    assert "step 3, " in done.stdout
    ours, manifest = load_model(tmp_path / "imported", torch.device("cpu"))
    assert (manifest.step, manifest.seed) == (3, 7)
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(x, torch.Generator().manual_seed(1)).log_prob(x)
        torch.testing.assert_close(ours(x, torch.Generator().manual_seed(1)).log_prob(x), expected)


LIMITS_OF_AN_IMPORT = """
import resource, sys
from nvae_core.cli import import_checkpoint
from nvae_core.importing.torch_file import ForeignCheckpoint

def read(path):
    raise ForeignCheckpoint(f"during: {resource.getrlimit(resource.RLIMIT_AS)[0]}")

import_checkpoint.read_published = read
import_checkpoint.main()
sys.stderr.write(f"after: {resource.getrlimit(resource.RLIMIT_AS)[0]}\\n")
"""


def test_import_may_allocate_only_so_much_more_than_its_file_has(tmp_path: Path) -> None:
    (tmp_path / "c.pt").write_bytes(b"x" * 1000)
    command = [sys.executable, "-c", LIMITS_OF_AN_IMPORT]
    command += [str(tmp_path / "c.pt"), str(tmp_path / "imported")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    limits = dict(line.split(": ") for line in done.stderr.splitlines())
    assert 2**32 < int(limits["during"]) < 2**50
    assert int(limits["after"]) == resource.getrlimit(resource.RLIMIT_AS)[0]


def test_import_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    done = run("import_checkpoint", tmp_path / "c.pt", tmp_path / "there")
    assert done.returncode == 2
    assert "there exists already" in done.stderr


def test_file_that_cannot_be_imported_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "c.pt").write_bytes(b"not a checkpoint")
    done = run_in_new_interpreter("import_checkpoint", tmp_path / "c.pt", tmp_path / "imported")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path / 'c.pt'}: ")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.parametrize(("center", "status"), [(0.0, 0), (1.0, 1)])
def test_verification_succeeds_only_if_all_is_within_bounds(
    tmp_path: Path, center: float, status: int
) -> None:
    mask = np.array([[[[1, 1, 1], [1, center, 0], [0, 0, 0]]]], np.float32)
    np.savez(tmp_path / "masks_cells.npz", mask_k3_in1_g1_out1_zd1_mirror0=mask)
    done = run("verify_reference", tmp_path, "--json")
    assert done.returncode == status
    document = json.loads(done.stdout)
    assert document["within_bounds"] == (status == 0)
    (quantity,) = document["files"]["masks_cells.npz"]["quantities"].values()
    assert quantity == {
        "error": center,
        "bound": 0.0,
        "within_bound": status == 0,
    }
    assert run("verify_reference", tmp_path).returncode == status


def test_folder_without_numbers_verifies_nothing(tmp_path: Path) -> None:
    done = run_in_new_interpreter("verify_reference", tmp_path)
    assert done.returncode == 1
    assert "there are no reference numbers" in done.stderr
