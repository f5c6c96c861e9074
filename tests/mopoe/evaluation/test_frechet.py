"""The Frechet distance against closed forms and SciPy; its networks; generators that are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import linalg
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.errors import DataError
from mopoe.evaluation import frechet as module
from mopoe.evaluation.classifiers import Classifiers, ImageClassifier
from mopoe.evaluation.frechet import (
    Features,
    classifier_features,
    frechet_distance,
    generated_features,
    inception_features,
    real_features,
)
from mopoe.runtime import torchvision

CPU = torch.device("cpu")


def features(n: int, d: int, seed: int) -> Tensor:
    """Return correlated features [n, d] away from the origin."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=rng) @ torch.randn(d, d, generator=rng) + seed


def by_scipy(a: Tensor, b: Tensor) -> float:
    """Return the distance with the matrix root of a product that is not symmetric."""
    a, b = a.double().numpy(), b.double().numpy()
    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(one @ two).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + two - 2 * root))


@pytest.mark.parametrize("d", [2, 7, 40])
def test_it_is_scipys_value_on_the_same_features(d: int) -> None:
    """To 1e-6, relative."""
    a, b = features(200, d, 1), features(300, d, 2)
    assert frechet_distance(a, b) == pytest.approx(by_scipy(a, b), rel=1e-6)


def test_it_is_the_closed_form_of_gaussians() -> None:
    """Covariances that commute: the sum of squared differences of means and of standard deviations."""

    def sample(mean_D: Tensor, variance_D: Tensor) -> Tensor:
        """Return features with exactly that mean, and that covariance after the rotation."""
        axes_ND = torch.cat([torch.eye(4), -torch.eye(4)]).double() * (3.5 * variance_D).sqrt()
        return axes_ND @ rotation.t() + mean_D

    rotation = torch.linalg.qr(features(4, 4, 3).double())[0]
    one, two = torch.tensor([1.0, 4.0, 0.0, 9.0]).double(), torch.tensor([4.0, 1.0, 16.0, 0.25]).double()
    mean = torch.tensor([1.0, -2.0, 0.5, 0.0]).double()
    a, b = sample(mean, one), sample(-mean, two)
    expected = float((2 * mean).square().sum() + (one.sqrt() - two.sqrt()).square().sum())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)


def test_fewer_samples_than_features_are_no_obstacle() -> None:
    """Equal sets have distance 0, moved ones the square of the way, although the covariance is singular."""
    a = features(10, 30, 1)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-3)
    assert frechet_distance(a, a + 2) == pytest.approx(30 * 4, abs=1e-3)


def test_one_sample_is_refused() -> None:
    """It has no covariance."""
    with pytest.raises(DataError, match=r"^a Frechet distance needs at least 2 samples, not 1$"):
        frechet_distance(torch.zeros(2, 3), torch.zeros(1, 3))


def test_a_classifiers_features_are_its_last_hidden_layer() -> None:
    """The head makes the classifier's logits of them."""
    network = ImageClassifier(1, 4).eval()
    x = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = classifier_features(Classifiers(networks={"m": network}, accuracy={}, hash="h"))
    assert found.key == "classifier:h"
    assert torch.equal(network.head(found.of("m", x)), network(x))


@pytest.fixture(scope="module")
def inception() -> dict[int, nn.Module]:
    """Give torchvision's network with random weights, for ImageNet's classes and for those of the FID."""
    torch.manual_seed(0)
    make = torchvision("models").inception_v3
    return {
        1000: make(weights=None, init_weights=False, transform_input=False).eval(),
        1008: make(weights=None, init_weights=False, num_classes=1008, aux_logits=False).eval(),
    }


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_torchvisions_inception_is_read_as_it_is(
    inception: dict[int, nn.Module], tmp_path: Path, ending: str
) -> None:
    """Its features are those of resized images in -1..1, grey ones as three equal colours."""
    network, path, inner = inception[1000], tmp_path / f"weights.{ending}", []
    (torch.save if ending == "pth" else save_file)(network.state_dict(), path)
    found = inception_features(path, CPU)
    x = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = found.of("any", x)
        network.fc.register_forward_pre_hook(lambda _, args: inner.append(args[0]))
        large = 2 * F.interpolate(x.repeat(1, 3, 1, 1), (299, 299), mode="bilinear", align_corners=False) - 1
        network(large)
    # Random weights shrink the numbers from layer to layer.
    torch.testing.assert_close(features, inner[0], rtol=1e-3, atol=1e-4 * float(features.abs().max()))
    assert features.shape == (1, 2048)
    assert found.key.startswith("inception:")


def test_the_weights_of_the_original_fid_get_its_pooling(
    inception: dict[int, nn.Module], tmp_path: Path
) -> None:
    """Averages without the padding in every branch but the last block's, which has the maximum."""
    network, path = inception[1008], tmp_path / "pt_inception-2015-12-05.pth"
    torch.save(network.state_dict(), path)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    with pytest.MonkeyPatch.context() as patch:
        built: list[nn.Module] = []
        patch.setattr(
            module, "_pool_like_tensorflow", lambda n, f=module._pool_like_tensorflow: (built.append(n), f(n))
        )
        found = inception_features(path, CPU)
    for name, block in built[0].named_children():
        if hasattr(block, "branch_pool"):
            block.register_forward_hook(
                lambda b, i, _, name=name: seen.__setitem__(name, (i[0], seen.pop(name)))
            )
            block.branch_pool.conv.register_forward_pre_hook(
                lambda _, i, name=name: seen.__setitem__(name, i[0])
            )
    with torch.inference_mode():
        found.of("any", torch.rand(1, 3, 28, 28))
    assert len(seen) == 9
    for name, (x, pooled) in seen.items():
        plain = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        expected = F.max_pool2d(x, 3, stride=1, padding=1) if name == "Mixed_7c" else plain
        torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pth", b"no weights"), ("a.safetensors", b"no weights"), ("a.pth", None), ("a.pth", {})],
)
def test_a_wrong_file_is_one_sentence(
    tmp_path: Path, name: str, content: bytes | dict[str, Tensor] | None
) -> None:
    """Damaged, missing, or of another network: which file, and which ones are possible."""
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save({"fc.weight": torch.zeros(1000, 2048)}, path)
    with pytest.raises(DataError) as caught:
        inception_features(path, CPU)
    message = str(caught.value)
    assert message.startswith(f"{path}: not weights of Inception v3 (")
    assert message.endswith("torchvision's inception_v3, or pt_inception-2015-12-05")
    assert "\n" not in message


def test_real_samples_are_looked_at_once(known: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """And again for another modality, split, number or network."""
    monkeypatch.setattr(module, "_real", {})
    case, calls = known((0.0, 0.0), 300), []
    look = Features(key="one", of=lambda name, x: (calls.append(name), x)[1])
    first = real_features(case.data, "validation", "m0", 200, look, CPU)
    assert calls == ["m0"] * 2
    assert real_features(case.data, "validation", "m0", 200, look, CPU) is first
    assert calls == ["m0"] * 2
    x = case.data.validation.x["m0"][:200].double() / 255
    torch.testing.assert_close(first.double(), x, rtol=1e-6, atol=1e-7)
    for other in (("test", "m0", 100), ("validation", "m1", 200), ("validation", "m0", 100)):
        real_features(case.data, *other, look, CPU)
    real_features(case.data, "validation", "m0", 200, Features(key="two", of=look.of), CPU)
    assert len(calls) == 8


def distances(case: Any, source: int, features: Features) -> dict[str, float]:
    """Return the Frechet distance of each modality's samples from the real ones."""
    made = generated_features(case.model, case.data.validation, source, features, 600, 0, case.model.names)
    return {
        name: frechet_distance(real_features(case.data, "validation", name, 600, features, CPU), rows)
        for name, rows in made.items()
    }


def test_a_model_is_judged_by_what_it_generates(
    known: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A perfect decoder is at 0 from every subset; one that errs is not, by the rate at which it does.

    Decoders paint one-hot vectors: from q(z | X) a perfect one paints the data itself; one that always errs
    moves each class to the next, which changes the classes' frequencies alone.
    """
    monkeypatch.setattr(module, "_real", {})
    case = known((0.0, 1.0), 600)
    identity = Features(key="identity", of=lambda _, x: x)
    x = case.data.validation.x["m0"].float() / 255
    for source in (1, 2, 3):
        found = distances(case, source, identity)
        assert found["m0"] == pytest.approx(0.0, abs=1e-6)
        assert found["m1"] == pytest.approx(frechet_distance(x, x.roll(1, 1)), abs=1e-6)
    prior = distances(case, 0, identity)
    assert prior["m0"] == pytest.approx(prior["m1"], abs=0.05)
    assert 0 < prior["m0"] < 0.05
