"""The folded model computes what the plain one does in evaluation."""

from collections.abc import Iterator

import pytest
import torch
from needs_kernels import needs_kernels
from torch import Tensor

from nvae_core.architecture import CELL_TABLES
from nvae_core.config import CellArchitecture, ModelConfig
from nvae_core.evaluation import likelihood
from nvae_core.evaluation.likelihood import EvaluationStopped, score_by, score_images
from nvae_core.inference.network import SampleScores, fold_decoder, fold_model
from nvae_core.kernels import library
from nvae_core.model.batch_norm import batch_norms_of
from nvae_core.model.noise import draw_noise
from nvae_core.model.nvae import NVAE, build_model

NUM_IMAGES, NUM_SAMPLES = 3, 2
COLOURS = {"num_colors": 3, "image_distribution": "logistic_mixture", "num_mixtures": 3}
CASES = {
    "no flows": {},
    "flows": {"num_flow_transforms": 4},
    "no squeeze and excitation": {"squeeze_excitation": False},
    "no residual posterior": {"residual_posterior": False},
    "one group": {"num_groups_per_scale": (1,)},
    "three scales": {"num_groups_per_scale": (1, 1, 2), "num_preprocess_blocks": 1},
    "colours": {**COLOURS, "num_flow_transforms": 2},
    "colours of 5 bits": {**COLOURS, "bit_depth": 5},
    "published bins": {**COLOURS, "logistic_bins": "published"},
    "grey levels": {**COLOURS, "num_colors": 1},
    "padded colours": {**COLOURS, "image_size": 12, "image_padding": 2},
}


@pytest.fixture(params=[pytest.param("kernels", marks=needs_kernels), "torch"], autouse=True)
def _on_one_thread(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    if request.param == "torch":
        monkeypatch.setattr(library, "find_library", lambda: None)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def trained(**changes: object) -> NVAE:
    """Return a model of which no two channels are alike."""
    values = {
        "image_size": 16,
        "num_groups_per_scale": (1, 2),
        "num_latents_per_group": 3,
        "num_encoder_channels": 8,
        "num_decoder_channels": 8,
        "num_preprocess_blocks": 1,
        "num_encoder_cells_per_group": 1,
        "num_decoder_cells_per_group": 1,
    }
    model = build_model(ModelConfig.model_validate(values | changes), seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in batch_norms_of(model):
            norm.running_var.uniform_(0.3, 1.5, generator=generator)
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.running_mean.normal_(0.0, 0.3, generator=generator)
            norm.bias.normal_(0.0, 0.3, generator=generator)
    return model


def random_images(model: NVAE, count: int = NUM_IMAGES) -> Tensor:
    config, generator = model.config, torch.Generator().manual_seed(2)
    shape = (count, config.num_colors, config.resolution, config.resolution)
    if config.image_distribution == "bernoulli":
        return torch.rand(shape, generator=generator).round()
    last = 2**config.bit_depth - 1
    return torch.randint(0, last + 1, shape, generator=generator) / last


@torch.no_grad()
def score_plainly(model: NVAE, x: Tensor, draws: list[tuple[Tensor, ...]]) -> SampleScores:
    results = [model(x, draw) for draw in draws]
    log_prob = torch.stack([result.log_prob(x) for result in results])
    log_weight = torch.stack([result.importance_log_weight(x) for result in results])
    kl = torch.stack([result.kl_per_channel().sum(dim=2) for result in results])
    return SampleScores(log_prob, log_weight - log_prob, kl)


@torch.no_grad()
def check_scores(model: NVAE, num_images: int = NUM_IMAGES) -> None:
    x, generator = random_images(model, num_images), torch.Generator().manual_seed(3)
    draws = [draw_noise(model.noise_shapes(len(x)), generator) for _ in range(NUM_SAMPLES)]
    expected = score_plainly(model, x, draws)
    folded = fold_model(model)
    noise = [torch.stack(group) for group in zip(*draws, strict=True)]
    scores = folded.score(x, folded.encode(x), noise)
    torch.testing.assert_close(scores.log_prob, expected.log_prob, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(scores.log_ratio, expected.log_ratio, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(scores.kl_per_group, expected.kl_per_group, rtol=1e-5, atol=1e-3)


@torch.no_grad()
def check_samples(model: NVAE) -> None:
    noise = draw_noise(model.noise_shapes(NUM_IMAGES), torch.Generator().manual_seed(4))
    image = fold_decoder(model).generate(noise, temperature=0.7).mean()
    plain = model.generate(noise, batch_size=NUM_IMAGES, temperature=0.7).image.mean()
    torch.testing.assert_close(image, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_scores_of_samples_are_those_of_the_plain_model(name: str) -> None:
    check_scores(trained(**CASES[name]))


@pytest.mark.parametrize("name", CASES)
def test_scores_of_one_image_are_those_of_the_plain_model(name: str) -> None:
    check_scores(trained(**CASES[name]), num_images=1)


@pytest.mark.parametrize("architecture", CELL_TABLES)
def test_scores_are_those_of_the_plain_model_for_all_cells(architecture: CellArchitecture) -> None:
    check_scores(trained(cell_architecture=architecture))


@pytest.mark.parametrize("name", CASES)
def test_samples_of_the_prior_are_those_of_the_plain_model(name: str) -> None:
    check_samples(trained(**CASES[name]))


@pytest.mark.parametrize("architecture", CELL_TABLES)
def test_samples_are_those_of_the_plain_model_for_all_cells(architecture: CellArchitecture) -> None:
    check_samples(trained(cell_architecture=architecture))


def test_wide_layers_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nvae_core.inference.parts.CACHED_BYTES", 1)
    monkeypatch.setattr("nvae_core.inference.parts.MIN_PIXELS", 1)
    check_scores(trained(num_flow_transforms=2))


def test_double_precision_stays_double() -> None:
    model = trained(num_flow_transforms=2).double()
    x = random_images(model).double()
    draws = [draw_noise(model.noise_shapes(len(x)), torch.Generator().manual_seed(3))]
    folded = fold_model(model)
    assert folded.encode(x)[0].dtype == torch.float64
    with torch.no_grad():
        scores = folded.score(x, folded.encode(x), [group[None] for group in draws[0]])
    expected = score_plainly(model, x, draws)
    torch.testing.assert_close(scores.log_prob, expected.log_prob)


@pytest.mark.parametrize("name", ["flows", "colours", "one group", "no squeeze and excitation"])
def test_another_device_is_not_mixed_with_the_cpu(name: str) -> None:
    model = trained(**CASES[name]).to("meta")
    x = random_images(model).to("meta")
    shapes = model.noise_shapes(len(x))
    folded, decoder = fold_model(model), fold_decoder(model)
    noise = [torch.empty(NUM_SAMPLES, *shape, device="meta") for shape in shapes]
    scores = folded.score(x, folded.encode(x), noise)
    assert scores.log_prob.shape == (NUM_SAMPLES, len(x))
    assert scores.kl_per_group.shape == (NUM_SAMPLES, len(x), len(shapes))
    image = decoder.generate([group[0] for group in noise], temperature=0.7).mean()
    assert image.is_meta


def test_folding_leaves_the_model_as_it_is() -> None:
    model = trained(num_flow_transforms=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    score_images(model, random_images(model), [torch.Generator().manual_seed(0)] * 2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("images_in_a_pass", [1, 6, 1000])
def test_how_many_samples_a_pass_takes_changes_nothing(
    images_in_a_pass: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(num_flow_transforms=2)
    x, num_samples = random_images(model), 7
    generator = torch.Generator().manual_seed(5)
    draws = [draw_noise(model.noise_shapes(len(x)), generator) for _ in range(num_samples)]
    expected = score_plainly(model, x, draws)
    log_weights = expected.log_prob + expected.log_ratio
    pixels = images_in_a_pass * model.config.resolution**2
    monkeypatch.setattr(likelihood, "PIXELS_IN_A_PASS", pixels)
    scores = score_images(model, x, [torch.Generator().manual_seed(5)] * num_samples)
    nll = torch.tensor(float(num_samples)).log() - log_weights.logsumexp(dim=0)
    torch.testing.assert_close(scores.importance_weighted_nll.float(), nll, rtol=1e-5, atol=1e-3)
    kl = expected.kl_per_group
    negative_elbo = (kl.sum(dim=2) - expected.log_prob).mean(dim=0)
    torch.testing.assert_close(scores.negative_elbo.float(), negative_elbo, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(scores.kl_per_group.float(), kl.mean(dim=0), rtol=1e-5, atol=1e-3)


def test_it_is_asked_to_stop_before_each_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model, answers = trained(), iter([False, False, True])
    pixels = 2 * NUM_IMAGES * model.config.resolution**2
    monkeypatch.setattr(likelihood, "PIXELS_IN_A_PASS", pixels)
    with pytest.raises(EvaluationStopped):
        score_by(
            fold_model(model),
            random_images(model),
            [torch.Generator()] * 6,
            should_stop=lambda: next(answers),
        )
    assert next(answers, None) is None


@pytest.mark.parametrize("architecture", CELL_TABLES)
def test_folded_decoder_keeps_its_statistics_when_those_of_the_model_change(
    architecture: CellArchitecture,
) -> None:
    model = trained(cell_architecture=architecture)
    noise = draw_noise(model.noise_shapes(NUM_IMAGES), torch.Generator().manual_seed(4))
    decoder = fold_decoder(model)
    before = decoder.generate(noise, temperature=0.7).mean()
    for norm in batch_norms_of(model):
        norm.running_mean += 1.0
        norm.running_var *= 2.0
    assert torch.equal(decoder.generate(noise, temperature=0.7).mean(), before)
