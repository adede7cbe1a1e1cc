"""Writes checkpoints as the published code does, from models of ours."""

import argparse
from pathlib import Path
from typing import Any

import torch

from nvae_core.config import ModelConfig
from nvae_core.importing.names import PairedTensor, paired_parameters, paired_statistics
from nvae_core.model.nvae import NVAE

ARGUMENTS = {
    "dataset": "cifar10",
    "seed": 7,
    "arch_instance": "res_mbconv",
    "num_latent_scales": 2,
    "num_groups_per_scale": 2,
    "ada_groups": True,
    "min_groups_per_scale": 1,
    "num_latent_per_group": 3,
    "num_channels_enc": 4,
    "num_channels_dec": 6,
    "num_preprocess_blocks": 1,
    "num_preprocess_cells": 2,
    "num_postprocess_blocks": 1,
    "num_postprocess_cells": 1,
    "num_cell_per_cond_enc": 2,
    "num_cell_per_cond_dec": 1,
    "num_nf": 2,
    "num_x_bits": 5,
    "num_mixture_dec": 3,
    "use_se": False,
    "res_dist": True,
    "epochs": 40,
    "batch_size": 16,
    "learning_rate": 0.008,
    "learning_rate_min": 1e-4,
    "warmup_epochs": 5,
    "weight_decay": 3e-4,
    "weight_decay_norm": 0.1,
    "weight_decay_norm_init": 1.0,
    "weight_decay_norm_anneal": True,
    "kl_anneal_portion": 0.3,
    "kl_const_coeff": 1e-4,
    "save": "/somewhere/eval-1",
}
MODEL = ModelConfig(  # of these arguments, for images of 16x16
    image_size=16,
    num_colors=3,
    bit_depth=5,
    image_distribution="logistic_mixture",
    num_mixtures=3,
    logistic_bins="published",
    num_groups_per_scale=(1, 2),
    num_latents_per_group=3,
    num_flow_transforms=4,
    num_encoder_channels=4,
    num_decoder_channels=6,
    num_preprocess_cells=2,
    num_postprocess_cells=1,
    num_encoder_cells_per_group=2,
    num_decoder_cells_per_group=1,
    squeeze_excitation=False,
)


def published_content(model: NVAE, **changes: object) -> dict[str, Any]:
    """Return what the published code would save of this model, after three steps."""
    parameters = list(paired_parameters(model))
    state_dict: dict[str, Any] = {}
    for pair in [*parameters, *paired_statistics(model)]:
        state_dict[pair.published] = _signed(pair)
    # Both are in published files, and say nothing new.
    state_dict["dec_tower.1._ops.0.conv.1.conv.0.weight_normalized"] = torch.zeros(1)
    state_dict["stem.num_batches_tracked"] = torch.tensor(3)
    states = {
        index: {
            "step": 3,
            "exp_avg": _signed(pair) / 2,
            "exp_inf": pair.tensor.detach().abs(),
        }
        for index, pair in enumerate(parameters)
    }
    return {
        "epoch": 2,
        "global_step": 3,
        "state_dict": state_dict,
        "optimizer": {"state": states, "param_groups": []},
        "args": argparse.Namespace(**(ARGUMENTS | changes)),
        "arch_instance": {"normal_enc": ["res_bnswish"]},
        "grad_scalar": {"scale": 1024.0},
    }


def save_published(path: Path, model: NVAE, **changes: object) -> Path:
    """Save that content in a file."""
    torch.save(published_content(model, **changes), path)
    return path


def _signed(pair: PairedTensor) -> torch.Tensor:
    tensor = pair.tensor.detach().clone()
    return -tensor if pair.is_negated else tensor
