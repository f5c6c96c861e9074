"""The optimiser's settings: each equals a plain loop by value, on stacks too, and resumes bit by bit."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import CONFIG, cut_off, run, same_weights

from mopoe.data.container import MultimodalData
from mopoe.errors import CheckpointError
from mopoe.model import MoPoE, build_model

EPOCHS = 8
# Three steps an epoch: two epochs of warm-up, then half a wave over the other eighteen steps.
RISE = [0.01 * step / 6 for step in range(1, 7)]
WAVE = [0.005 * (1 + math.cos(math.pi * k / 18)) for k in range(18)]
ALL: dict[str, Any] = {
    "optimizer": "adamw",
    "weight_decay": 2.0,
    "grad_clip": 100.0,
    "lr_warmup_epochs": 1,
    "lr_schedule": "cosine",
}


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({"weight_decay": 2.0}, []),
        ({"optimizer": "adamw", "weight_decay": 2.0}, []),
        ({"grad_clip": 1000.0}, []),
        ({"lr_warmup_epochs": 2, "lr_schedule": "cosine"}, RISE + WAVE),
        ({"lr_warmup_epochs": 2}, RISE + [0.01] * 18),
    ],
    ids=str,
)
def test_a_setting_equals_a_plain_loop(
    tiny_data: MultimodalData,
    train_plainly: Callable[..., list[dict[str, float]]],
    in_double: Callable[..., MoPoE],
    settings: dict[str, Any],
    rates: list[float],
) -> None:
    """After 24 steps in float64 to 1e-10; the reports have the last rate, and the norm before clipping."""
    config = replace(CONFIG, epochs=EPOCHS, **settings)
    model, reference = (in_double(build_model(config, tiny_data.modalities)) for _ in range(2))
    clip = config.grad_clip or math.inf
    expected = train_plainly(reference, config, tiny_data.train, rates, clip)
    trained, reports = run(config, tiny_data, model=model)
    theirs = dict(reference.named_parameters())
    for name, parameter in trained.named_parameters():
        torch.testing.assert_close(parameter, theirs[name], atol=1e-10, rtol=1e-10, msg=name)
    norms = [sums["grad_norm"] for sums in expected]
    assert [report.grad_norm for report in reports] == pytest.approx(norms, rel=1e-6)
    assert [report.lr for report in reports] == pytest.approx((rates or [0.01] * 24)[2::3])
    if config.grad_clip:
        assert max(norms) > clip > min(norms)


def test_a_trial_with_every_setting_goes_on_bit_by_bit(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """Cut off in its second epoch, it has the losses and weights of one that was not."""
    config = replace(CONFIG, **ALL)
    whole, expected = run(config, tiny_data)
    path = tmp_path / "c.safetensors"
    taken = cut_off(config, tiny_data, path)
    resumed, rest = run(config, tiny_data, checkpoint=path)
    assert taken + rest == expected
    assert same_weights(whole, resumed)


def test_more_epochs_would_be_another_cosine(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """A trial whose learning rate ends with its epochs cannot be given more of them."""
    path = tmp_path / "c.safetensors"
    run(replace(CONFIG, epochs=1, lr_schedule="cosine"), tiny_data, checkpoint=path)
    with pytest.raises(CheckpointError, match=r"other settings: epochs was 1 and is now 3$"):
        run(replace(CONFIG, lr_schedule="cosine"), tiny_data, checkpoint=path)
