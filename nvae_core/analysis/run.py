"""A whole analysis: its picture and its numbers, left in the run directory together."""

import json
import time

from nvae_core.analysis.context import AnalysisStopped, Context, Picture
from nvae_core.analysis.experiments.curves import analyze_active_channels, analyze_curves
from nvae_core.analysis.experiments.interpolations import analyze_interpolations
from nvae_core.analysis.experiments.nearest_images import analyze_nearest
from nvae_core.analysis.experiments.reconstructions import analyze_reconstructions
from nvae_core.analysis.experiments.scale_traversal import analyze_scales
from nvae_core.analysis.experiments.temperature_table import analyze_temperatures
from nvae_core.config import (
    ActiveChannels,
    AnalyzeConfig,
    Interpolations,
    NearestImages,
    Reconstructions,
    RunAnalysis,
    ScaleTraversal,
    TemperatureTableConfig,
    TrainingCurves,
)
from nvae_core.data.prepared import read_manifest
from nvae_core.model.nvae import count_parameters
from nvae_core.run_directory import ExitReason, Result, StartedLine
from nvae_core.sampling.drawing import SamplingStopped
from nvae_core.sampling.grids import report_sample
from nvae_core.sampling.sampler import Sampler

PATHS = {"checkpoint", "dataset", "runs", "statistics"}  # of this machine: told in other words


def analyze_run(config: AnalyzeConfig, context: Context) -> Result:
    """Do one analysis; picture and numbers are written when both are complete.

    Raises:
        CheckpointCorrupt: a file of the checkpoint is missing or damaged.
        InvalidDataset: the data set is, or does not fit the model.
        InvalidRunDirectory: the checkpoint, the split or a run has not what is asked for.
    """
    sampler = None if isinstance(config, RunAnalysis) else context.load(config.checkpoint)
    step = sampler.manifest.step if sampler else None
    parameters = count_parameters(sampler.model) if sampler else None
    context.run.append(StartedLine(at=time.time(), num_steps=1, num_parameters=parameters))
    try:
        picture = _analyze(config, context, sampler)
    except (AnalysisStopped, SamplingStopped):
        return Result(status="stopped", reason=ExitReason.STOPPED, step=step)
    document = {
        **config.model_dump(mode="json", exclude=PATHS),
        **_sources(config, context, sampler),
        **picture.numbers,
    }
    content = json.dumps(document, indent=2, allow_nan=False).encode() + b"\n"
    step_shown = step or 0
    report_sample(context.run, f"{picture.name}.json", content, "application/json", step=step_shown)
    report_sample(context.run, f"{picture.name}.png", picture.png, "image/png", step=step_shown)
    return Result(status="succeeded", step=step)


def _analyze(config: AnalyzeConfig, context: Context, sampler: Sampler | None) -> Picture:
    if isinstance(config, ActiveChannels):
        return analyze_active_channels(config, context)
    if isinstance(config, TrainingCurves):
        return analyze_curves(config, context)
    assert sampler is not None
    return _analyze_model(config, context, sampler)


def _analyze_model(
    config: NearestImages
    | TemperatureTableConfig
    | ScaleTraversal
    | Reconstructions
    | Interpolations,
    context: Context,
    sampler: Sampler,
) -> Picture:
    match config:
        case NearestImages():
            return analyze_nearest(config, context, sampler)
        case TemperatureTableConfig():
            return analyze_temperatures(config, context, sampler)
        case ScaleTraversal():
            return analyze_scales(config, context, sampler)
        case Reconstructions():
            return analyze_reconstructions(config, context, sampler)
        case Interpolations():
            return analyze_interpolations(config, context, sampler)


def _sources(config: AnalyzeConfig, context: Context, sampler: Sampler | None) -> dict[str, object]:
    """Return what the numbers are of, in words that hold on other machines too."""
    sources: dict[str, object] = {}
    if sampler is not None and not isinstance(config, RunAnalysis):
        sources["checkpoint"] = {
            "name": context.path(config.checkpoint).resolve().name,  # in a service its id
            "step": sampler.manifest.step,
            "model_sha256": sampler.model_sha256,
        }
    if isinstance(config, NearestImages | Reconstructions | Interpolations):
        manifest = read_manifest(context.path(config.dataset))
        sources["dataset"] = {
            "content_hash": manifest.content_hash,
            "num_images": manifest.splits[config.split].num_images,
        }
    return sources
