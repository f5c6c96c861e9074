"""Checks before anything is trained: does every modality work, and does a trial fit into memory?

Without them, a mistake in a network or a classifier would fail every trial of a sweep, and only after its
full training.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from mopoe.batch_loss import batch_loss
from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData, to_unit
from mopoe.data.covariates import joined
from mopoe.data.registry import COVARIATES
from mopoe.errors import ConfigError, DataError, MopoeError
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.final_metrics import EvalContext
from mopoe.evaluation.own import called
from mopoe.evaluation_config import EvaluationConfig
from mopoe.model import build_model
from mopoe.plugins import reason
from mopoe.runtime import free_memory
from mopoe.training import check_complete, loss_weights, step_draws

BATCH = 4
"""Samples of the rehearsal."""


def rehearse(
    config: TrialConfig,
    data: MultimodalData,
    classifiers: Classifiers,
    evaluation: EvaluationConfig = EvaluationConfig(),  # noqa: B008 - it is frozen
) -> None:
    """Encode, decode, score and classify a few held-out samples with a fresh model, on the CPU.

    The metrics of the user's own are called, too, on all held-out samples.

    Raises:
        ConfigError: the networks of a modality cannot be built, or a metric fails.
        DataError: something fails for a modality; the message names it, what fails, and the line of the
            user's code that raised the error.
    """
    with _step("the networks", "be built"):
        model = build_model(config, data.modalities).eval()
        check_complete(config, data, model)
    split = data.validation.complete()
    if not len(split):
        raise DataError("validation: no sample has all modalities, so nothing can be measured")
    x = split.batch(slice(0, BATCH), torch.device("cpu"))
    c_BC = x.get(COVARIATES)
    n, width = len(next(iter(x.values()))), config.latent_dim + config.style_dim
    style_MBW = torch.zeros(len(model.names), n, config.style_dim) if config.style_dim else None
    with torch.inference_mode():
        for name in model.names:
            with _step(f"modality {name!r}", "be encoded"):
                mu, logvar = model.encoders[name](joined(x[name], c_BC, model.covariates))
                _check("mean and log-variance", (n, width), mu, logvar)
            with _step(f"modality {name!r}", "be decoded and scored"):
                own = {k: x[k] for k in (name, COVARIATES) if k in x}
                mean = model.mean(name, torch.zeros(n, config.latent_dim), style_MBW, c_BC)
                if mean.dim() == x[name].dim():  # of symbols they are probabilities
                    _check("the decoder's mean", tuple(x[name].shape), mean)
                log_p_B = model.log_prob(torch.zeros(n, config.latent_dim), own, style_MBW)[name]
                _check("log_prob", (n,), log_p_B)
            if name not in classifiers.networks:
                continue  # there are no labels
            with _step(f"modality {name!r}", "be classified once it is generated"):
                _check("the classifier's output", (n, data.n_classes), classifiers.logits(name, mean))
    context = EvalContext(data=data, classifiers=classifiers, config=evaluation)
    for reference in evaluation.metrics:
        called(reference, model, data.split(evaluation.split).complete(), context)


def _check(what: str, shape: tuple[int, ...], *tensors: Tensor) -> None:
    for tensor in tensors:
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{what} has shape {list(tensor.shape)}, but must have {list(shape)}")


@contextmanager
def _step(what: str, verb: str) -> Iterator[None]:
    try:
        yield
    except MopoeError:
        raise
    except Exception as error:  # a user's network may raise anything
        raise DataError(f"{what} cannot {verb} ({reason(error)})") from error


def training_bytes(config: TrialConfig, data: MultimodalData) -> int | None:
    """Return about how many bytes training takes at its peak, estimated without allocating them.

    Counted are parameters, gradients, Adam's two moments, and what autograd keeps of a batch. A process grows
    by up to a fifth more, because the backward pass needs temporary memory.

    Returns:
        None if it cannot be counted, because a user's network inspects the values of its input.

    Raises:
        ConfigError: the networks of a modality cannot be built.
    """
    try:
        with torch.device("meta"):
            model = build_model(config, data.modalities).train()
            n = min(config.batch_size, len(data.train))
            types = {name: x.dtype for name, x in data.train.x.items()}
            x = {m.name: to_unit(torch.empty(n, *m.shape, dtype=types[m.name])) for m in data.modalities}
            if model.covariates:
                x[COVARIATES] = torch.empty(n, model.covariates)
            loss = batch_loss(model, replace(config, compile="no"), torch.device("meta"))
            saved, draws = SavedTensors(), step_draws(config, model, 0, n)
            with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
                loss(x, draws, loss_weights(config, data), None)
        return 16 * sum(p.numel() for p in model.parameters()) + saved.size(model)
    except MopoeError:
        raise
    except Exception:  # noqa: BLE001 - such a network may raise anything on tensors without values
        return None


class SavedTensors:
    """Counts the bytes that autograd saves for one backward pass, each storage once."""

    def __init__(self) -> None:
        self._storages: dict[int, torch.UntypedStorage] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        """Return the tensor unchanged, and count it."""
        storage = tensor.untyped_storage()
        self._storages[id(storage)] = storage
        return tensor

    def size(self, model: torch.nn.Module) -> int:
        """Return the bytes of everything that was saved, except for the model's own parameters."""
        own = {id(p.untyped_storage()) for p in model.parameters()}
        return sum(s.nbytes() for place, s in self._storages.items() if place not in own)


def check_memory(config: TrialConfig, data: MultimodalData, device: str) -> None:
    """Check that a trial fits into the free memory, before anything is allocated.

    Raises:
        ConfigError: it does not fit; the message says how much it needs and how much is free.
    """
    needed, free = training_bytes(config, data), free_memory(device)
    if free is not None and needed is not None and needed > free:
        raise ConfigError(
            f"training takes about {needed / 2**30:,.1f} GiB, but {device} has {free / 2**30:,.1f} GiB free; "
            "lower batch_size, latent_dim or channels"
        )
