"""Costs of encoder, latent groups and image, laid out as the model is."""

from collections.abc import Sequence

from nvae_core.architecture import Cell, Hierarchy, LatentGroup, build_hierarchy
from nvae_core.config import ModelConfig
from nvae_core.estimate.cells import residual_cells
from nvae_core.estimate.cost import NOTHING, Cost, FeatureMap, add_up
from nvae_core.estimate.images import log_prob
from nvae_core.estimate.latents import flow, kl_divergence
from nvae_core.estimate.layers import activation, convolution


def network(config: ModelConfig) -> Cost:
    """Return the cost of the model's pass with posterior, and of the objective on it."""
    hierarchy = build_hierarchy(config)
    return add_up(
        (
            _encoder(config, hierarchy),
            _top_state(hierarchy),
            *(_latent_group(group, config, hierarchy) for group in hierarchy.groups),
            _image(config, hierarchy),
        )
    )


def _encoder(config: ModelConfig, hierarchy: Hierarchy) -> Cost:
    image = FeatureMap(config.num_colors, config.resolution)
    stem = FeatureMap(config.num_encoder_channels, config.resolution)
    top = FeatureMap(hierarchy.top.encoder_channels, hierarchy.top.resolution)
    return add_up(
        (
            convolution(image, stem, 3, input_has_gradient=False),  # keeps 2x - 1, not the input
            _cells(hierarchy.preprocess, config),
            *(_cells(group.encoder_cells, config) for group in hierarchy.groups),
            activation(top),
            convolution(top, top, 1),
            activation(top),
        )
    )


def _top_state(hierarchy: Hierarchy) -> Cost:
    """Return the cost of the learned state, which is a parameter: nothing else keeps it."""
    top = hierarchy.top
    return Cost(num_parameters=_top_channels(hierarchy) * top.resolution**2)


def _latent_group(group: LatentGroup, config: ModelConfig, hierarchy: Hierarchy) -> Cost:
    is_top = group.index == 0
    num_latents, num_flow_transforms = config.num_latents_per_group, config.num_flow_transforms
    z = FeatureMap(num_latents, group.resolution)
    parameters = FeatureMap(2 * num_latents, group.resolution)
    features = FeatureMap(group.encoder_channels, group.resolution)
    state = FeatureMap(group.decoder_channels, group.resolution)
    state_channels = _top_channels(hierarchy) if is_top else state.channels
    state_and_z = FeatureMap(state_channels + num_latents, group.resolution)
    return add_up(
        (
            _cells(group.decoder_cells, config),
            NOTHING if is_top else _given_state(state, features, parameters),
            convolution(features, parameters, 3),  # keeps the sum of features and state
            flow(z, num_transforms=num_flow_transforms),
            kl_divergence(z, has_flow=num_flow_transforms > 0, prior_is_learned=not is_top),
            convolution(state_and_z, state, 1),  # keeps the concatenation, which is a copy
        )
    )


def _given_state(state: FeatureMap, features: FeatureMap, parameters: FeatureMap) -> Cost:
    """Return the cost of the prior's head, and of what the posterior takes from the state."""
    prior_head = activation(state) + convolution(state, parameters, 1)
    return prior_head + convolution(state, features, 1, shares_input=True)


def _top_channels(hierarchy: Hierarchy) -> int:
    return hierarchy.top.decoder_channels if hierarchy.has_towers else 0


def _image(config: ModelConfig, hierarchy: Hierarchy) -> Cost:
    state = FeatureMap(config.num_decoder_channels, config.resolution)
    parameters = FeatureMap(hierarchy.image_head_channels, config.resolution)
    return add_up(
        (
            _cells(hierarchy.postprocess, config),
            activation(state),
            convolution(state, parameters, 3),
            log_prob(config, parameters),
        )
    )


def _cells(cells: Sequence[Cell], config: ModelConfig) -> Cost:
    return residual_cells(cells, squeeze_excitation=config.squeeze_excitation)
