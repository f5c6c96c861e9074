"""One classifier per modality, which says what a generated image shows.

Trained once on the data set's own training split, cached under a name that changes with the data and with
anything that alters the weights, and always used in eval mode (the released MoPoE code leaves dropout on,
which lowers every coherence it reports).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData, Split, cache_dir, cached_file, to_unit
from mopoe.data.registry import ModalitySpec
from mopoe.errors import DataError
from mopoe.gaussian import at_least_float32
from mopoe.networks import build_modality
from mopoe.random_streams import generator
from mopoe.runtime import prepared

MOST = 60_000
"""Samples of a split that an epoch, or a measurement of the accuracy, uses at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierConfig:
    """How the classifiers are trained."""

    epochs: int = 10
    """Passes over the training split."""
    batch_size: int = 64
    """Samples per step."""
    lr: float = 4e-3
    """Peak learning rate of a one-cycle schedule."""
    seed: int = 0
    """Fixes initialisation, data order and dropout."""
    recipe: int = 1
    """Raised whenever the network or its training changes, so that older cached files are not used."""


class ImageClassifier(nn.Module):
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

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        return self.head(self.features(x_BCHW))  # type: ignore[no-any-return] # a Module's call is untyped


class EncoderClassifier(nn.Module):
    """The modality's own encoder with 128 outputs, and a linear layer: any modality has a classifier."""

    def __init__(self, modality: ModalitySpec, n_classes: int) -> None:
        super().__init__()
        # With torch's default start, that of house numbers was still at chance after all its epochs.
        config = TrialConfig(initialisation="he")
        self.encoder = build_modality(config, modality, 128).encoder
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(128, n_classes))

    def features(self, x: Tensor) -> Tensor:
        """Return the hidden layer [B, 128]."""
        mean, _ = self.encoder(x)
        return F.relu(mean)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        return self.head(self.features(x))  # type: ignore[no-any-return] # a Module's call is untyped


def _is_released(modality: ModalitySpec) -> bool:
    """Return whether the released classifiers read the modality: images of 28 x 28 pixels."""
    return len(modality.shape) == 3 and modality.shape[1:] == (28, 28)


def _network(modality: ModalitySpec, n_classes: int) -> nn.Module:
    released = _is_released(modality)
    network = (
        ImageClassifier(modality.shape[0], n_classes) if released else EncoderClassifier(modality, n_classes)
    )
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return] # torch's stub lacks it


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifiers:
    """The trained classifiers of a data set."""

    networks: Mapping[str, nn.Module]
    """By modality name, in eval mode."""
    accuracy: Mapping[str, float]
    """Share of real test samples, or of their attributes, classified right, by modality name."""
    hash: str
    """Of the weights; coherence compares only under the same classifiers."""

    def logits(self, name: str, x: Tensor) -> Tensor:
        """Return the logits [B, classes or attributes] of samples of one modality.

        Raises:
            DataError: the network is in training mode, where dropout would make it guess.
        """
        network = self.networks[name]
        if network.training:
            raise DataError(f"the classifier of {name!r} is in training mode, but coherence needs eval mode")
        logits: Tensor = network(x)
        return at_least_float32(logits)

    def predict(self, name: str, x: Tensor) -> Tensor:
        """Return the predicted class of each sample [B] of one modality."""
        return self.logits(name, x).argmax(1)

    def to(self, device: torch.device) -> "Classifiers":
        """Return the classifiers on the device."""
        networks = {name: network.to(device) for name, network in self.networks.items()}
        return Classifiers(networks=networks, accuracy=self.accuracy, hash=self.hash)


def load_classifiers(data: MultimodalData, config: ClassifierConfig | None = None) -> Classifiers:
    """Return the data set's classifiers, trained on first use (some seconds) and then cached.

    Raises:
        DataError: the cached file is damaged.
        ConfigError: the networks of a modality that is no image of 28 x 28 pixels cannot be built.
    """
    config = config or ClassifierConfig()
    modalities = [(m.name, m.shape, None if _is_released(m) else m.network) for m in data.modalities]
    parts = {"data": data.fingerprint, "modalities": modalities, "classes": data.n_classes}
    parts |= {"torch": torch.__version__, **asdict(config)}
    key = json.dumps(parts, sort_keys=True)
    name = f"classifiers-{hashlib.sha256(key.encode()).hexdigest()[:12]}.safetensors"
    path = cached_file(cache_dir() / name, lambda path: _train_all(path, data, config))
    return read_classifiers(path, data)


def accuracy(network: nn.Module, split: Split, name: str) -> float:
    """Return the share of samples of a split, or of attributes, that a network in eval mode gets right."""
    n = min(len(split), MOST)
    with torch.inference_mode():
        hits = []
        for i in range(0, n, 500):
            labels = split.labels[i : i + 500]
            hits.append(decide(network(to_unit(split.stored(name, slice(i, i + 500)))), labels) == labels)
    return float(torch.cat(hits)[:n].double().mean())


def decide(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the predictions in the form of the labels: a class [B], or a row of attributes, each 0 or 1."""
    return logits.argmax(1) if labels.dim() == 1 else (logits > 0).to(labels.dtype)


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of labels, which are classes [B] or rows of attributes, each 0 or 1."""
    if labels.dim() == 1:
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def train_classifier(
    split: Split, modality: ModalitySpec, n_classes: int, config: ClassifierConfig
) -> nn.Module:
    """Return a classifier of one modality, trained on a split and set to eval mode."""
    name, n = modality.name, min(len(split), MOST)
    device = prepared("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator(config.seed, f"classifier {name}").initial_seed())
        network = _network(modality, n_classes).to(device)
        steps = config.epochs * -(-n // config.batch_size)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps)
        network.train()
        for _ in range(config.epochs):
            for index_B in torch.randperm(len(split))[:n].split(config.batch_size):
                x, labels = split.stored(name, index_B).to(device), split.labels[index_B].to(device)
                loss = loss_of(network(to_unit(x)), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return network.cpu().eval()


def _train_all(path: Path, data: MultimodalData, config: ClassifierConfig) -> None:
    networks, measured = {}, {}
    for i, m in enumerate(data.modalities):
        # Samples that have the modality.
        train, test = (s if s.present is None else s.take(s.present[:, i]) for s in (data.train, data.test))
        networks[m.name] = train_classifier(train, m, data.n_classes, config)
        measured[m.name] = accuracy(networks[m.name], test, m.name)
    path.write_bytes(packed(networks, measured))


def packed(networks: Mapping[str, nn.Module], accuracy: Mapping[str, float]) -> bytes:
    """Return the content of a file that `read_classifiers` reads, from classifiers and their accuracies."""
    tensors = {
        f"{name}/{key}": value.contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    content: bytes = save(tensors, {name: repr(share) for name, share in accuracy.items()})
    return content


def weights_hash(path: Path) -> str:
    """Return the hash of the weights in a file of classifiers, by which a results folder names it.

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
        DataError: the file is damaged, or holds others.
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
        measured = {m.name: float(metadata[m.name]) for m in data.modalities}
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not readable classifiers ({error}); delete it and they are trained anew"
        ) from error
    return Classifiers(networks=networks, accuracy=measured, hash=weights_hash(path))
