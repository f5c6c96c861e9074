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
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.data.container import MultimodalData, Split, cache_dir, cached_file, to_unit
from mopoe.errors import DataError
from mopoe.noise import generator


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
        return logits

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
        DataError: a modality is not an image of 28 x 28 pixels, or the cached file is damaged.
    """
    config = config or ClassifierConfig()
    for m in data.modalities:
        if len(m.shape) != 3 or m.shape[1:] != (28, 28):
            raise DataError(
                f"modality {m.name!r} has shape {list(m.shape)}, but classifiers read [channels, 28, 28]"
            )
    key = json.dumps({"data": data.fingerprint, "torch": torch.__version__, **asdict(config)}, sort_keys=True)
    name = f"classifiers-{hashlib.sha256(key.encode()).hexdigest()[:12]}.safetensors"
    path = cached_file(cache_dir() / name, lambda path: _train_all(path, data, config))
    return _read(path, data)


def accuracy(network: nn.Module, x: Tensor, labels: Tensor) -> float:
    """Return the share of samples (uint8), or of attributes, that a network in eval mode classifies right."""
    with torch.inference_mode():
        hits = [
            (decide(network(to_unit(a)), b) == b).sum()
            for a, b in zip(x.split(500), labels.split(500), strict=True)
        ]
    return int(torch.stack(hits).sum()) / labels.numel()


def decide(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the predictions in the form of the labels: a class [B], or a row of attributes, each 0 or 1."""
    return logits.argmax(1) if labels.dim() == 1 else (logits > 0).to(labels.dtype)


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of labels, which are classes [B] or rows of attributes, each 0 or 1."""
    if labels.dim() == 1:
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def train_classifier(split: Split, name: str, n_classes: int, config: ClassifierConfig) -> nn.Module:
    """Return a classifier of one modality, trained on a split and set to eval mode."""
    x, labels = split.x[name], split.labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(config.seed, f"classifier {name}").initial_seed())
        network = ImageClassifier(x.shape[1], n_classes).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks it
        steps = config.epochs * -(-len(split) // config.batch_size)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps)
        network.train()
        for _ in range(config.epochs):
            for index_B in torch.randperm(len(split)).split(config.batch_size):
                loss = loss_of(network(to_unit(x[index_B])), labels[index_B])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    network.eval()
    return network  # type: ignore[no-any-return] # untyped through the ignored overload above


def _train_all(path: Path, data: MultimodalData, config: ClassifierConfig) -> None:
    tensors: dict[str, Tensor] = {}
    metadata = {}
    for m in data.modalities:
        network = train_classifier(data.train, m.name, data.n_classes, config)
        metadata[m.name] = repr(accuracy(network, data.test.x[m.name], data.test.labels))
        tensors |= {f"{m.name}/{key}": value.contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, path, metadata)


def _read(path: Path, data: MultimodalData) -> Classifiers:
    networks: dict[str, nn.Module] = {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in sorted(file.keys())}
        for m in data.modalities:
            network = ImageClassifier(m.shape[0], data.n_classes)
            prefix = f"{m.name}/"
            network.load_state_dict(
                {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            )
            networks[m.name] = network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload] # torch's stub lacks it
        measured = {m.name: float(metadata[m.name]) for m in data.modalities}
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not readable classifiers ({error}); delete it and they are trained anew"
        ) from error
    digest = hashlib.sha256()
    for key, tensor in tensors.items():
        digest.update(key.encode() + tensor.numpy().tobytes())
    return Classifiers(networks=networks, accuracy=measured, hash=digest.hexdigest()[:12])
