"""Evaluations over ranks, over interruptions, and of parts: each image counts once."""

import math
import operator
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import forked_programs
import pytest
import torch
from joined_ranks import together
from pydantic import ValidationError
from safetensors import safe_open

from nvae_core.checkpoint import load_model
from nvae_core.config import EvaluateConfig, TrainConfig
from nvae_core.distributed import Ranks
from nvae_core.evaluation import run as evaluation_run
from nvae_core.evaluation.estimates import BatchEstimates, Estimates
from nvae_core.evaluation.likelihood import score_by
from nvae_core.evaluation.run import evaluate_run
from nvae_core.model.fuse import fuse
from nvae_core.run_directory import ArtifactLine, InvalidRunDirectory, Result, RunDirectory
from nvae_core.sampling.draw import MAX_PIXELS
from nvae_core.seeding import Stream, seeded_generator
from nvae_core.training.checkpointer import save_checkpoint
from nvae_core.training.state import start_training

CPU = torch.device("cpu")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
NUM_IMAGES = 10  # of the test split


@pytest.fixture
def config(tmp_path: Path, train_config: TrainConfig) -> EvaluateConfig:
    state = start_training(train_config.model, train_config.optimization, seed=0, device=CPU)
    optimization = train_config.optimization
    checkpoint = save_checkpoint(tmp_path / "ckpt", state, optimization=optimization, seed=0)
    return EvaluateConfig(
        checkpoint=str(checkpoint),
        dataset=train_config.dataset,
        importance_samples=3,
        batch_size=3,
    )


@pytest.fixture
def evaluate(
    tmp_path: Path, config: EvaluateConfig, one_thread: None
) -> Callable[..., tuple[Result, RunDirectory]]:
    """Return a function that evaluates in a new run directory."""
    numbers = iter(range(100))

    def run(answers: Sequence[bool] = (), **changes: object) -> tuple[Result, RunDirectory]:
        directory = RunDirectory(tmp_path / f"run_{next(numbers)}")
        changed = EvaluateConfig.model_validate(config.model_dump() | changes)
        directory.create(changed)
        stops = iter(answers)
        result = evaluate_run(
            changed,
            directory,
            Ranks(0, 1, CPU),
            should_stop=lambda: next(stops, False),
            enter=lambda num_images: None,
        )
        return result, directory

    return run


def kept(run: RunDirectory) -> Path:
    return max(run.estimates.glob("*.safetensors"))


def tensors(path: Path) -> dict[str, list[float]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name).tolist() for name in file.keys()}  # noqa: SIM118


def test_means_and_their_errors_are_over_images_and_in_both_units() -> None:
    batches = [
        BatchEstimates(
            torch.tensor(elbo, dtype=torch.float64),
            torch.tensor(nll, dtype=torch.float64),
            torch.tensor(kl, dtype=torch.float64),
            torch.tensor([[0.5, 0.2], [0.0, 9.0]], dtype=torch.float64),
        )
        for elbo, nll, kl in (
            ([4.0, 6.0], [3.0, 5.0], [[1.0, 2.0], [3.0, 4.0]]),
            ([8.0], [4.0], [[2.0, 3.0]]),
        )
    ]
    values = Estimates(10, batches).values()
    assert values["num_images"] == 3
    assert values["negative_elbo"] == pytest.approx(6)
    assert values["negative_elbo_standard_error"] == pytest.approx(2 / math.sqrt(3))
    assert values["importance_weighted_nll"] == pytest.approx(4)
    assert values["importance_weighted_nll_standard_error"] == pytest.approx(1 / math.sqrt(3))
    assert values["bits_per_dim"] == pytest.approx(4 / (10 * math.log(2)))
    assert values["bits_per_dim_standard_error"] == pytest.approx(0.1 / math.log(2) / math.sqrt(3))
    assert values["negative_elbo_bits_per_dim"] == pytest.approx(6 / (10 * math.log(2)))
    in_bits = values["negative_elbo_bits_per_dim_standard_error"]
    assert in_bits == pytest.approx(0.2 / math.log(2) / math.sqrt(3))
    assert (values["kl/group_00"], values["kl/group_01"], values["kl"]) == (2, 3, 5)
    # Per image (0.33, 0.13) and (0, 6) nats, above 0.1 or not.
    assert values["active_channels/group_00"] == 2
    assert values["active_channels/group_01"] == 1
    assert values["active_channels"] == 3


def test_one_image_has_no_standard_error() -> None:
    one = torch.ones(1, dtype=torch.float64)
    values = Estimates(10, [BatchEstimates(one, one, one[:, None], one[:, None])]).values()
    assert values["negative_elbo"] == 1
    assert [name for name in values if name.endswith("standard_error")] == []


def test_every_image_counts_once_and_is_scored_as_alone(evaluate, config: EvaluateConfig) -> None:
    result, run = evaluate()
    assert (result.status, result.step) == ("succeeded", NUM_IMAGES)
    found = tensors(kept(run))
    assert [len(found[name]) for name in ("negative_elbo", "kl_per_group")] == [NUM_IMAGES] * 2
    assert found["batch_sizes"] == [3, 3, 3, 1]
    alone, run = evaluate(first_image=9)
    assert tensors(kept(run))["negative_elbo"] == found["negative_elbo"][9:]
    assert alone.values["num_images"] == 1
    _, run = evaluate(first_image=3, num_images=6)
    assert tensors(kept(run))["importance_weighted_nll"] == found["importance_weighted_nll"][3:9]


def test_each_pass_is_a_sign_of_life(
    config: EvaluateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MAX_PIXELS, "cpu", 1)  # a sample of an image in each
    passes: list[str] = []
    entered: list[int] = []

    def should_stop() -> bool:
        passes.append("pass")
        return False

    run = RunDirectory(tmp_path / "run")
    run.create(config)
    ranks = Ranks(0, 1, CPU)
    evaluate_run(config, run, ranks, should_stop=should_stop, enter=entered.append)
    assert len(passes) == NUM_IMAGES * config.importance_samples
    # Beside the passes also at the beginning and after each round: a rank may have no batch in it.
    assert entered == [0, *[0] * 9, 3, *[3] * 9, 6, *[6] * 9, 9, *[9] * 3, 10]


def test_how_many_images_a_pass_takes_changes_nothing(
    evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, run = evaluate()
    monkeypatch.setitem(MAX_PIXELS, "cpu", 2 * 16 * 16)
    result, other = evaluate()
    assert result.values == pytest.approx(expected.values, rel=1e-6)
    kl, same = (tensors(kept(r))["kl_per_channel"] for r in (run, other))
    torch.testing.assert_close(torch.tensor(kl), torch.tensor(same), rtol=1e-5, atol=1e-5)


def test_more_samples_give_a_tighter_bound(evaluate) -> None:
    nll = [
        evaluate(importance_samples=count)[0].values["importance_weighted_nll"]
        for count in (1, 10, 100)
    ]
    # Log likelihoods rise with the samples in expectation; the steps here are many times larger
    # than the spread of ten images over seeds.
    assert nll[0] > nll[1] > nll[2]


def test_one_sample_agrees_with_the_elbo_within_its_error(evaluate, config: EvaluateConfig) -> None:
    # -log w of single samples is an unbiased estimate of the negative ELBO.
    model = fuse(load_model(Path(config.checkpoint), CPU)[0])
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)).round()
    generator = seeded_generator(CPU, Stream.LATENTS, 0)
    scores = [score_by(model, x, [generator]) for _ in range(300)]
    differences = torch.stack([s.importance_weighted_nll - s.negative_elbo for s in scores])
    # The negative ELBO of one draw has noise of its own reconstruction, which both share.
    error = differences.std(dim=0) / math.sqrt(len(scores))
    assert (differences.mean(dim=0).abs() < 4 * error).all()


@pytest.mark.processes
@pytest.mark.parametrize("num_ranks", [2, 3])
def test_result_is_the_same_on_any_number_of_ranks(
    evaluate, config: EvaluateConfig, tmp_path: Path, num_ranks: int
) -> None:
    expected, one = evaluate()
    run = RunDirectory(tmp_path / "ranks")
    run.create(config)
    command = [*TORCHRUN, str(num_ranks), "-m", "nvae_core.cli.evaluate", str(run.path)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=False
    )
    result = run.read_result()
    assert result is not None, done.stderr
    assert result == expected
    assert tensors(kept(run)) == tensors(kept(one))


def test_evaluation_that_is_stopped_goes_on_as_if_it_had_not_been(evaluate) -> None:
    expected, undisturbed = evaluate()
    stopped, first = evaluate([False, False, True])
    assert (stopped.status, stopped.step) == ("stopped", 6)
    assert stopped.values["num_images"] == 6
    resumed, second = evaluate(resume_from=str(kept(first)))
    assert resumed == expected
    assert tensors(kept(second)) == tensors(kept(undisturbed))
    again, _ = evaluate(resume_from=str(kept(second)))
    assert again == expected


def resume_with_one_file(
    ranks: Ranks, config: EvaluateConfig, folder: Path, has_file: Callable[[int], bool]
) -> Result:
    torch.set_num_threads(1)
    if not has_file(ranks.rank):
        config = config.model_copy(update={"resume_from": None})
    run = RunDirectory(folder / f"node_{ranks.rank}")
    run.create(config)
    return evaluate_run(
        config, run, ranks, should_stop=lambda: False, enter=lambda num_images: None
    )


@pytest.mark.processes
@pytest.mark.parametrize("has_file", [operator.not_, bool], ids=["first_node", "other_node"])
def test_all_nodes_go_on_from_what_the_first_one_has(
    evaluate, config: EvaluateConfig, tmp_path: Path, has_file: Callable[[int], bool]
) -> None:
    expected, undisturbed = evaluate()
    _, first = evaluate([False, False, True])
    asked = config.model_copy(update={"resume_from": str(kept(first))})
    work = partial(resume_with_one_file, config=asked, folder=tmp_path, has_file=has_file)
    results = together(work, tmp_path, world_size=2, num_nodes=2)
    assert results == [expected, expected]
    assert tensors(kept(RunDirectory(tmp_path / "node_0"))) == tensors(kept(undisturbed))


def test_evaluation_that_is_killed_leaves_what_it_had(
    evaluate, config: EvaluateConfig, tmp_path: Path
) -> None:
    asked = {"batch_size": 1, "importance_samples": 300}
    run = RunDirectory(tmp_path / "killed")
    run.create(config.model_copy(update=asked | {"save_every_seconds": 0.001}))
    with (run.path / "output.txt").open("wb") as output:
        process = forked_programs.start("nvae_core.cli.evaluate", run.path, stdout=output)
    deadline = time.monotonic() + 300
    while not list(run.estimates.glob("*.safetensors")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    left = kept(run)
    assert tensors(left)["batch_sizes"]
    resumed, _ = evaluate(resume_from=str(left), **asked)
    assert resumed == evaluate(**asked)[0]


def test_estimates_are_reported_under_one_name_and_few_files_stay(evaluate) -> None:
    _, run = evaluate(batch_size=1, save_every_seconds=1e-6)
    lines = [line for _, line in run.read_progress() if isinstance(line, ArtifactLine)]
    assert {line.name for line in lines} == {"likelihoods.safetensors"}
    assert len({line.path for line in lines}) == NUM_IMAGES
    assert len(list(run.estimates.glob("*.safetensors"))) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_image": 10}, "first_image: is 10, and the split test has 10 images"),
        ({"first_image": 5, "num_images": 6}, "num_images: is 6, .* has 5 from 5 on"),
    ],
)
def test_images_that_are_not_there_are_refused(evaluate, changes, message) -> None:
    with pytest.raises(InvalidRunDirectory, match=message):
        evaluate(**changes)


def test_estimates_of_another_evaluation_are_refused(evaluate, tmp_path: Path) -> None:
    _, run = evaluate()
    with pytest.raises(InvalidRunDirectory, match=r"importance_samples, seed differ"):
        evaluate(resume_from=str(kept(run)), seed=1, importance_samples=4)
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"x" * 100)
    with pytest.raises(InvalidRunDirectory, match="resume_from: garbage cannot be read"):
        evaluate(resume_from=str(garbage))


def test_ranks_exchange_no_more_than_there_are_images(
    evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def gather(estimates: BatchEstimates, world_size: int) -> list[BatchEstimates]:
        sizes.append(len(pickle.dumps(estimates)))
        return [estimates]

    monkeypatch.setattr(evaluation_run, "gather_estimates", gather)
    result, _ = evaluate(batch_size=10_000, num_images=2)
    evaluate(batch_size=2, num_images=2)
    assert result.values["num_images"] == 2
    assert sizes[0] == sizes[1]


def test_batch_of_more_images_than_fit_anywhere_is_refused() -> None:
    with pytest.raises(ValidationError, match="batch_size"):
        EvaluateConfig(checkpoint="c", dataset="d", batch_size=10_001)


def test_batches_are_small_where_there_are_many_samples_of_each_image() -> None:
    sizes = {
        count: EvaluateConfig(
            checkpoint="c", dataset="d", importance_samples=count
        ).images_per_batch
        for count in (1, 100, 1000, 10_000)
    }
    assert sizes == {1: 100, 100: 100, 1000: 10, 10_000: 1}
