"""One classifier per modality, which predicts the label of a generated sample.

Classifiers are trained once on the data set's training split, cached under a name that depends on the data
and on everything that affects the weights, and always used in eval mode. (The released MoPoE code leaves
dropout on, which lowers every coherence it reports.)
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.bank import Bank, Layered, banks, stacked, trained
from mopoe.cache import cache_dir, cached_file, short_hash
from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData, Split, chunks, to_unit
from mopoe.data.folds import to_other_scale
from mopoe.data.registry import ModalitySpec
from mopoe.errors import DataError
from mopoe.networks import build_modality
from mopoe.plugins import reason
from mopoe.random_streams import generator
from mopoe.runtime import at_least_float32, one_thread, prepared

MOST = 60_000
"""The most samples of a split that an epoch, or a measurement of the accuracy, uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierConfig:
    """The settings of the classifiers' training."""

    epochs: int = 10
    """Passes over the training split."""
    batch_size: int = 64
    """Samples per step."""
    lr: float = 4e-3
    """Peak learning rate of a one-cycle schedule."""
    seed: int = 0
    """Determines initialisation, data order and dropout."""
    recipe: int = 2
    """Increased whenever the network or its training changes, so that older cached files are not used."""


class ImageClassifier(Layered):
    """The layers of the PolyMNIST digit classifiers (released code): two convolutions, one hidden layer."""

    def __init__(self, n_colours: int, n_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(n_colours, 10, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(10, 20, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Dropout2d(0.25),
            nn.Flatten(),
            nn.Linear(20 * 7 * 7, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
        )
        self.head = nn.Linear(128, n_classes)

    def layers(self) -> list[nn.Module]:
        """Return the layers in their order."""
        return [*self.features, self.head]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        return self.head(self.features(x_BCHW))  # type: ignore[no-any-return] # a Module's call is untyped


class EncoderClassifier(nn.Module):
    """The modality's own encoder with 128 outputs and a linear layer: a classifier for any modality."""

    def __init__(self, modality: ModalitySpec, n_classes: int) -> None:
        super().__init__()
        # With torch's default initialisation, SVHN's classifier was still at chance after all epochs.
        config = TrialConfig(initialisation="he")
        alone = replace(modality, covariates=())
        self.encoder = build_modality(config, alone, 128).encoder
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(128, n_classes))

    def features(self, x: Tensor) -> Tensor:
        """Return the hidden layer [B, 128]."""
        mean, _ = self.encoder(x)
        return F.relu(mean)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        return self.head(self.features(x))  # type: ignore[no-any-return] # a Module's call is untyped


def _is_released(modality: ModalitySpec) -> bool:
    """Return whether the released architecture fits the modality: images of 28 x 28 pixels."""
    return len(modality.shape) == 3 and modality.shape[1:] == (28, 28)


def _network(modality: ModalitySpec, n_classes: int) -> nn.Module:
    released = _is_released(modality)
    network = (
        ImageClassifier(modality.shape[0], n_classes) if released else EncoderClassifier(modality, n_classes)
    )
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return] # torch's stub lacks it


@dataclass(frozen=True, kw_only=True)
class Classifiers:
    """The trained classifiers of a data set."""

    networks: Mapping[str, nn.Module]
    """The networks by modality name, in eval mode."""
    accuracy: Mapping[str, float]
    """Share of real test samples, or of their attributes, that are classified correctly, by modality name."""
    hash: str | None
    """Hash of the weights; coherence is comparable only for the same classifiers. None if there are none."""

    @cached_property
    def banks(self) -> tuple[Bank, ...]:
        """Those of the networks that are computed together."""
        return banks(self.networks)

    def logits(self, name: str, x: Tensor) -> Tensor:
        """Return the logits [B, classes or attributes] of samples of one modality.

        Raises:
            DataError: the network is in training mode, in which dropout is active.
        """
        network = self.networks[name]
        if network.training:
            raise DataError(f"the classifier of {name!r} is in training mode, but coherence needs eval mode")
        if x.device.type == "cpu" and not torch.is_grad_enabled():
            for bank in self.banks:
                at = bank.find([name])
                if at is not None and bank.ready(x):
                    return bank(stacked([x]), at)[0].t()
        logits: Tensor = network(x)
        return at_least_float32(logits)

    def predict(self, name: str, x: Tensor) -> Tensor:
        """Return the predicted class of each sample [B] of one modality."""
        return self.logits(name, x).argmax(1)

    def to(self, device: torch.device) -> "Classifiers":
        """Return the classifiers on the device."""
        return replace(self, networks={name: network.to(device) for name, network in self.networks.items()})


class _Rescaled(nn.Module):
    """A classifier of features in one scale, for the same features in another."""

    def __init__(self, network: nn.Module, factor_F: Tensor, summand_F: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("factor_F", factor_F)
        self.register_buffer("summand_F", summand_F)

    def features(self, x: Tensor) -> Tensor:
        """Return the classifier's hidden layer."""
        return self.network.features(x * self.factor_F + self.summand_F)  # type: ignore[operator,no-any-return] # a Module

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.network(x * self.factor_F + self.summand_F)  # type: ignore[operator,no-any-return] # a Module


def for_fold(classifiers: Classifiers, data: MultimodalData, fold: MultimodalData) -> Classifiers:
    """Return a data set's classifiers for one of its folds, whose features may be standardised otherwise."""
    pairs = {m.name: (m, own) for m, own in zip(data.modalities, fold.modalities, strict=True)}
    networks = {
        name: _Rescaled(network, *to_other_scale(*pairs[name])).eval() if pairs[name][0].offset else network
        for name, network in classifiers.networks.items()
    }
    return replace(classifiers, networks=networks)


def load_classifiers(data: MultimodalData, config: ClassifierConfig | None = None) -> Classifiers:
    """Return the data set's classifiers, which are trained on first use (seconds) and then cached.

    A data set without labels has none.

    Raises:
        DataError: the cached file is damaged.
        ConfigError: the networks of a modality cannot be built.
    """
    if not data.n_classes:
        return Classifiers(networks={}, accuracy={}, hash=None)
    config = config or ClassifierConfig()
    modalities = [(m.name, m.shape, None if _is_released(m) else m.network) for m in data.modalities]
    parts = {"data": data.fingerprint, "modalities": modalities, "classes": data.n_classes}
    if any(totals := [m.median_total for m in data.modalities]):
        parts["totals"] = totals
    parts |= {"torch": torch.__version__, **asdict(config)}
    name = f"classifiers-{short_hash(dict(sorted(parts.items())))}.safetensors"
    path = cached_file(cache_dir() / name, lambda path: _train_all(path, data, config))
    return read_classifiers(path, data)


def accuracy(network: nn.Module, split: Split, name: str) -> float:
    """Return the share of a split's samples, or of their attributes, that are predicted correctly."""
    n = min(len(split), MOST)
    with torch.inference_mode():
        hits = []
        for start, stop in chunks(n, 500):
            labels = split.labels[start:stop]
            logits = network(to_unit(split.stored(name, slice(start, stop))))
            hits.append(predicted(logits, labels) == labels)
    return float(torch.cat(hits).double().mean())


def predicted(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the predictions in the form of the labels: classes [B], or attributes of 0 and 1 [B, A]."""
    return logits.argmax(1) if labels.dim() == 1 else (logits > 0).to(labels.dtype)


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of classes [B], or of attributes of 0 and 1 [B, A]."""
    if labels.dim() == 1:
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def train_classifiers(
    split: Split, modalities: Sequence[ModalitySpec], n_classes: int, config: ClassifierConfig
) -> dict[str, nn.Module]:
    """Return classifiers by modality name, trained side by side on a split, on the CPU and in eval mode.

    Each has a loss and parameters of its own, so that they learn what they would one after the other; those
    of one shape are computed together.
    """
    device = prepared("cuda" if torch.cuda.is_available() else "cpu")
    n, names = min(len(split), MOST), [m.name for m in modalities]
    split = replace(split, x={name: split.x[name] for name in names})
    with ExitStack() as ended:
        ended.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        networks: dict[str, nn.Module] = {}
        for m in modalities:
            torch.manual_seed(generator(config.seed, f"classifier {m.name}").initial_seed())
            networks[m.name] = _network(m, n_classes).to(device)
            _check_reads(networks[m.name], m, split.batch(slice(0, 1), device)[m.name])
        together = banks(networks) if device.type == "cpu" else ()
        alone = [name for name in names if not any(name in bank.names for bank in together)]
        if not alone:
            ended.enter_context(one_thread())
        parameters = (p for network in networks.values() for p in network.parameters())
        stacks = [stack for bank in together for stack in bank.stacks]
        optimizer = torch.optim.Adam(trained(parameters, stacks), lr=config.lr, fused=True)
        steps = config.epochs * -(-n // config.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps)
        for _ in range(config.epochs):
            for index_B in torch.randperm(len(split))[:n].split(config.batch_size):
                x = split.batch(index_B, device, innermost=bool(together))
                labels = split.labels[index_B].to(device)
                logits = [networks[name](x[name]) for name in alone]
                for bank in together:
                    logits += bank(stacked([x[name] for name in bank.names])).transpose(1, 2)
                loss = torch.stack([loss_of(each, labels) for each in logits]).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return {name: network.cpu().eval() for name, network in networks.items()}


def _check_reads(network: nn.Module, m: ModalitySpec, x: Tensor) -> None:
    """Raise DataError if a classifier cannot read samples of a modality; leave it in training mode."""
    try:
        with torch.inference_mode():
            network.eval()(x)
        network.train()
    except RuntimeError as error:
        raise DataError(f"no classifier can read {m.name!r} {list(m.shape)} ({reason(error)})") from error


def _train_all(path: Path, data: MultimodalData, config: ClassifierConfig) -> None:
    modalities = data.modalities
    # Where modalities are missing each has samples of its own.
    groups = [modalities] if data.train.present is None else [(m,) for m in modalities]
    networks: dict[str, nn.Module] = {}
    for some in groups:
        networks |= train_classifiers(_having(data, data.train, some[0]), some, data.n_classes, config)
    accuracies = {m.name: accuracy(networks[m.name], _having(data, data.test, m), m.name) for m in modalities}
    path.write_bytes(packed(networks, accuracies))


def _having(data: MultimodalData, split: Split, modality: ModalitySpec) -> Split:
    """Return the samples of a split that have a modality."""
    if split.present is None:
        return split
    return split.take(split.present[:, data.modalities.index(modality)])


def packed(networks: Mapping[str, nn.Module], accuracy: Mapping[str, float]) -> bytes:
    """Return the content of a file of classifiers and their accuracies, which `read_classifiers` reads."""
    tensors = {
        f"{name}/{key}": value.contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    content: bytes = save(tensors, {name: repr(share) for name, share in accuracy.items()})
    return content


def weights_hash(path: Path) -> str:
    """Return the hash of the weights in a file of classifiers: the file's name in a results folder.

    Raises:
        DataError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with safe_open(path, framework="pt") as file:
            for key in sorted(file.keys()):
                digest.update(key.encode() + file.get_tensor(key).numpy().tobytes())
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not readable classifiers ({error})") from error
    return digest.hexdigest()[:12]


def read_classifiers(path: Path, data: MultimodalData) -> Classifiers:
    """Return the classifiers of a data set from a file.

    Raises:
        DataError: the file is damaged, or its classifiers do not fit the data set.
    """
    networks: dict[str, nn.Module] = {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in sorted(file.keys())}
        for m in data.modalities:
            network = _network(m, data.n_classes)
            prefix = f"{m.name}/"
            network.load_state_dict(
                {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            )
            networks[m.name] = network.eval()
        accuracies = {m.name: float(metadata[m.name]) for m in data.modalities}
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not readable classifiers ({error}); delete the file to train them again"
        ) from error
    return Classifiers(networks=networks, accuracy=accuracies, hash=weights_hash(path))
