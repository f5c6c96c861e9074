"""Encoders and decoders: the papers' networks, and your own.

A `ModalitySpec` names the function that builds its networks as "package.module:function". The function is
marked `@mopoe.plugin`; it takes the trial's config, the modality and the number of latents, and returns a
`Modality`. Its further parameters are options that a trial's settings may give (`mopoe.network_options`).
"""

from collections.abc import Callable, Sequence

from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.network_options import PREFIX, arguments, function_of, typed_option
from mopoe.networks.base import Modality

Build = Callable[..., Modality]


def build_modalities(
    config: TrialConfig, modalities: Sequence[ModalitySpec], width: int
) -> dict[str, Modality]:
    """Return the networks of all modalities by name, as `build_modality` does.

    Raises:
        ConfigError: as of `build_modality`, or an option is that of no modality.
    """
    for name, value in config.network:
        typed_option(PREFIX + name, value, modalities)
    return {m.name: build_modality(config, m, width) for m in modalities}


def build_modality(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
    """Return the freshly initialised networks of a modality, using torch's global generator.

    Args:
        config: the trial's settings.
        modality: the modality, whose `network` names the function to call.
        width: number of latents: the width of the encoder's two outputs and of the decoder's input.

    Raises:
        ConfigError: there is no such plugin, an option is none of its own, or the modality's shape does not
            fit its networks.
    """
    build: Build = function_of(modality)
    return build(config, modality, width, **arguments(config.network, modality))
