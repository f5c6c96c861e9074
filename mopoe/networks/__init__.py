"""Encoders and decoders: the papers' networks, and your own.

A `ModalitySpec` names the function that builds its networks as "package.module:function". The function is
marked `@mopoe.plugin`; it takes the trial's config, the modality and the number of latents, and returns a
`Modality`.
"""

from collections.abc import Callable

from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.networks.base import Modality
from mopoe.plugins import named_function

Build = Callable[[TrialConfig, ModalitySpec, int], Modality]


def build_modality(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
    """Return the freshly initialised networks of a modality, using torch's global generator.

    Args:
        config: the trial's settings.
        modality: the modality, whose `network` names the function to call.
        width: number of latents: the width of the encoder's two outputs and of the decoder's input.

    Raises:
        ConfigError: there is no such plugin, or the modality's shape does not fit its networks.
    """
    try:
        build: Build = named_function(modality.network)
    except ConfigError as error:
        raise ConfigError(
            f"modality {modality.name!r} has the network {modality.network!r}, but it {error}"
        ) from error
    return build(config, modality, width)
