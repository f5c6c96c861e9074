"""Frechet distance between real and generated samples of a modality, in the feature space of a network.

The network is the modality's classifier, or Inception v3 with weights that the user provides: only the latter
is the FID (Heusel et al. 2017). Distances are comparable only for the same network and number of samples.
Axes: B batch, D feature, N sample.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import PickleError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.data.container import MultimodalData, Split, chunks, to_unit
from mopoe.errors import DataError
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.generation import source_latents
from mopoe.model import MoPoE

BATCH = 128
"""Samples generated and embedded at a time; Inception v3 needs about 1 GB for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A network in whose feature space samples are compared."""

    key: str
    """Identifies the network and its weights."""
    of: Callable[[str, Tensor], Tensor]
    """Maps a modality's name and samples [B, ...] to features [B, D]."""


def moments(features_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean [D] and covariance [D, D] of the Gaussian fitted to features: unbiased, float64.

    Raises:
        DataError: there are fewer than two samples.
    """
    if len(features_ND) < 2:
        raise DataError(f"a Frechet distance needs at least 2 samples, not {len(features_ND)}")
    return features_ND.double().mean(0), torch.atleast_2d(torch.cov(features_ND.double().t()))


def frechet_distance(real_ND: Tensor, generated_ND: Tensor) -> float:
    """Return the Frechet distance between two sets of features.

    This is the squared 2-Wasserstein distance of the Gaussians fitted to them, |mean_a - mean_b|^2 +
    tr(A + B - 2 (A B)^1/2). The trace of (A B)^1/2 is computed as that of the symmetric
    (A^1/2 B A^1/2)^1/2, by two eigendecompositions: no complex numbers arise, and rank-deficient covariances
    are no problem.

    >>> real_ND = torch.tensor([[-1.0], [0.0], [1.0]])
    >>> frechet_distance(real_ND, 2 * real_ND + 3)
    10.0

    Raises:
        DataError: there are fewer than two samples.
    """
    (mean_a_D, a_DD), (mean_b_D, b_DD) = moments(real_ND), moments(generated_ND)
    values_D, vectors_DD = torch.linalg.eigh(a_DD)
    root_DD = vectors_DD * values_D.clamp(min=0).sqrt() @ vectors_DD.t()
    cross_D = torch.linalg.eigvalsh(root_DD @ b_DD @ root_DD).clamp(min=0).sqrt()
    traces = a_DD.trace() + b_DD.trace() - 2 * cross_D.sum()
    return float((mean_a_D - mean_b_D).square().sum() + traces)


def classifier_features(classifiers: Classifiers) -> Features:
    """Return the features of each classifier's last hidden layer, computed by its method `features`."""

    def of(name: str, x: Tensor) -> Tensor:
        features: Any = classifiers.networks[name].features
        return features(x)  # type: ignore[no-any-return] # a user's network is untyped

    return Features(key=f"classifier:{classifiers.hash}", of=of)


def inception_features(path: Path, device: torch.device) -> Features:
    """Return the 2048 features of Inception v3 for images [B, 1 or 3, H, W] in 0..1, resized to 299 x 299.

    Args:
        path: a state dict (.safetensors, else torch's own format) of torchvision's inception_v3, or of
            pt_inception-2015-12-05, the weights of the original FID, which are recognised by 1008 classes.
        device: where to compute.

    Raises:
        DataError: the file is neither of these.
    """
    from mopoe.runtime import torchvision

    try:
        if path.suffix == ".safetensors":
            weights: dict[str, Tensor] = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        n_classes = len(weights["fc.weight"])
        with torch.device("meta"):  # the weights come from the file, so none are initialised
            network: nn.Module = torchvision("models").inception_v3(
                weights=None, num_classes=n_classes, aux_logits=False, init_weights=False
            )
        own = {key: value for key, value in weights.items() if not key.startswith("AuxLogits.")}
        network.load_state_dict(own, assign=True)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except _UNREADABLE as error:
        raise DataError(
            f"{path}: not weights of Inception v3 ({error!r:.100}); possible: the state dict of "
            "torchvision's inception_v3, or pt_inception-2015-12-05"
        ) from error
    network.fc = nn.Identity()
    if n_classes == 1008:
        _pool_like_tensorflow(network)
    network.eval().to(device)

    def of(_: str, x: Tensor) -> Tensor:
        x = x.clamp(0, 1).expand(-1, 3, -1, -1)
        x = 2 * F.interpolate(x, (299, 299), mode="bilinear", align_corners=False) - 1
        features: Tensor = network(x)
        return features

    return Features(key=f"inception:{digest}", of=of)


def _pool_like_tensorflow(network: nn.Module) -> None:
    """Make the network pool as when it was trained: averages without padding, maxima in the last block."""
    last = network.get_submodule("Mixed_7c")
    inputs: list[Tensor] = []

    def average(_: nn.Module, args: tuple[Any, ...]) -> Tensor:
        share = F.avg_pool2d(torch.ones_like(args[0][:1, :1]), 3, stride=1, padding=1)
        return args[0] / share  # type: ignore[no-any-return] # a hook's arguments are untyped

    for block in network.children():
        if hasattr(block, "branch_pool") and block is not last:
            block.get_submodule("branch_pool").register_forward_pre_hook(average)
    last.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    last.get_submodule("branch_pool").register_forward_pre_hook(
        lambda *_: F.max_pool2d(inputs.pop(), 3, stride=1, padding=1)
    )


_UNREADABLE = (OSError, EOFError, RuntimeError, LookupError, TypeError, PickleError, SafetensorError)


_real: dict[tuple[str, str, str, int, str], Tensor] = {}


def real_features(
    data: MultimodalData, split: str, name: str, n: int, features: Features, device: torch.device
) -> Tensor:
    """Return the features [N, D] of the first n complete samples of a modality, computed once per process."""
    key = (data.fingerprint, split, name, n, features.key)
    if key not in _real:
        with torch.inference_mode():
            x = data.split(split).complete().stored(name, slice(0, n)).split(BATCH)
            _real[key] = torch.cat([features.of(name, to_unit(a.to(device))) for a in x])
    return _real[key]


def generated_features(
    model: MoPoE, split: Split, source_mask: int, features: Features, n: int, seed: int, names: Sequence[str]
) -> dict[str, Tensor]:
    """Return the features [N, D] of generated samples by modality name.

    For each of the first n samples of the split one latent is drawn from the posterior of the source subset,
    or from the prior if the source is 0. The model must be in eval mode.
    """
    features_of: dict[str, list[Tensor]] = {name: [] for name in names}
    with torch.inference_mode():
        for start, stop in chunks(n, BATCH):
            means = model.means(*source_latents(model, split, source_mask, seed, "frechet", start, stop))
            for name in names:
                features_of[name].append(features.of(name, means[name]))
    return {name: torch.cat(rows) for name, rows in features_of.items()}
