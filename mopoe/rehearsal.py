"""What is found out before anything is trained: whether every modality works, and whether a trial fits.

What cannot work fails all trials alike, after their full training.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mopoe.compiled import objective
from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.errors import ConfigError, DataError, MopoeError
from mopoe.evaluation.classifiers import Classifiers
from mopoe.model import build_model
from mopoe.plugins import reason
from mopoe.runtime import free_memory
from mopoe.training import loss_weights, step_draws

BATCH = 4


def rehearse(config: TrialConfig, data: MultimodalData, classifiers: Classifiers) -> None:
    """Encode, decode, score and judge some held-out samples of each modality with a fresh model, on the CPU.

    Raises:
        ConfigError: the networks of a modality cannot be built.
        DataError: names the modality, what fails, and the line of the user's that raised.
    """
    with _step("the networks", "be built"):
        model = build_model(config, data.modalities).eval()
    split = data.validation.complete()
    if not len(split):
        raise DataError("validation: no sample has all modalities, so nothing can be measured")
    x = split.batch(slice(0, BATCH), torch.device("cpu"))
    n, width = len(next(iter(x.values()))), config.latent_dim + config.style_dim
    style_MBW = torch.zeros(len(model.names), n, config.style_dim) if config.style_dim else None
    with torch.inference_mode():
        for name in model.names:
            with _step(f"modality {name!r}", "be encoded"):
                mu, logvar = model.encoders[name](x[name])
                _check("mean and log-variance", (n, width), mu, logvar)
            with _step(f"modality {name!r}", "be decoded and scored"):
                log_p_B = model.log_prob(torch.zeros(n, config.latent_dim), {name: x[name]}, style_MBW)[name]
                _check("log_prob", (n,), log_p_B)
            with _step(f"modality {name!r}", "be judged once it is generated"):
                mean = model.mean(name, torch.zeros(n, config.latent_dim), style_MBW)
                _check("the classifier's output", (n, data.n_classes), classifiers.logits(name, mean))


def _check(what: str, shape: tuple[int, ...], *found: Tensor) -> None:
    for tensor in found:
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{what} has shape {list(tensor.shape)}, but must have {list(shape)}")


@contextmanager
def _step(what: str, verb: str) -> Iterator[None]:
    try:
        yield
    except MopoeError:
        raise
    except Exception as error:  # whatever a user's network raises
        raise DataError(f"{what} cannot {verb} ({reason(error)})") from error


def training_bytes(config: TrialConfig, data: MultimodalData) -> int | None:
    """Return about how many bytes training takes at its peak, counted without allocating any.

    Those are parameters, gradients, Adam's two moments, and what autograd keeps of a batch. A process grows
    by up to a fifth more: the backward pass needs room to work. None if that cannot be counted, because a
    network of the user's looks at values.

    Raises:
        ConfigError: the networks of a modality cannot be built.
    """
    try:
        return _counted(config, data)
    except MopoeError:
        raise
    except Exception:  # noqa: BLE001 - whatever such a network raises where there are none
        return None


def _counted(config: TrialConfig, data: MultimodalData) -> int:
    with torch.device("meta"):
        model = build_model(config, data.modalities).train()
        n = min(config.batch_size, len(data.train))
        symbols = {name for name, x in data.train.x.items() if x.dtype == torch.int8}
        x = {
            m.name: torch.empty(n, *m.shape, dtype=torch.int8 if m.name in symbols else None)
            for m in data.modalities
        }
        kept, draws = Kept(), step_draws(config, model, 0, n)
        with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
            objective(model, config.estimator, x, draws, loss_weights(config, data), None)
    return 16 * sum(p.numel() for p in model.parameters()) + kept.size(model)


class Kept:
    """Counts the bytes that autograd keeps for one backward pass, each storage once."""

    def __init__(self) -> None:
        self._kept: dict[int, torch.UntypedStorage] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        """Return the tensor as it is, and count it."""
        storage = tensor.untyped_storage()
        self._kept[id(storage)] = storage
        return tensor

    def size(self, model: torch.nn.Module) -> int:
        """Return the bytes of all that was kept but for the model's own parameters."""
        own = {id(p.untyped_storage()) for p in model.parameters()}
        return sum(s.nbytes() for place, s in self._kept.items() if place not in own)


def check_memory(config: TrialConfig, data: MultimodalData, device: str) -> None:
    """Refuse a trial that does not fit into what memory is free, before anything is allocated.

    Raises:
        ConfigError: names what it needs and what there is.
    """
    needed, free = training_bytes(config, data), free_memory(device)
    if free is not None and needed is not None and needed > free:
        raise ConfigError(
            f"training takes about {needed / 2**30:,.1f} GiB, but {device} has {free / 2**30:,.1f} GiB free; "
            "lower batch_size, latent_dim or channels"
        )
