"""Encoders and decoders by kind of modality: the papers' networks, and yours by the same road.

A `ModalitySpec` names the function that builds its parts, as "package.module:function". The function is
marked `@mopoe.plugin`, takes the trial's config, the modality and the width of the latent, and returns a
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
    """Return freshly initialised parts of a modality, drawing from torch's global generator.

    Args:
        config: the trial's settings.
        modality: the modality; its `network` names the function to call.
        width: how many numbers the encoder's two outputs have, and the decoder's input.

    Raises:
        ConfigError: there is no such marked function, or the modality's shape does not fit its networks.
    """
    try:
        build: Build = named_function(modality.network)
    except ConfigError as error:
        raise ConfigError(
            f"modality {modality.name!r} has the network {modality.network!r}, but it {error}"
        ) from error
    return build(config, modality, width)
