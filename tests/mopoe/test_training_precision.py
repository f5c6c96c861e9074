"""The precision of training: bfloat16 in encoders and decoders alone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from training_runs import CONFIG, run, same_weights

from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.errors import ConfigError
from mopoe.model import build_model

HALF = replace(CONFIG, precision="bfloat16")


def test_networks_compute_in_bfloat16_and_densities_in_float32(tiny_data: MultimodalData) -> None:
    """What encoders and decoders put out is bfloat16; what likelihoods and the KL are given is float32."""
    model = build_model(HALF, tiny_data.modalities)
    seen: dict[str, set[torch.dtype]] = {"networks": set(), "likelihoods": set()}
    for network in (*model.encoders.values(), *model.decoders.values()):
        network.register_forward_hook(
            lambda _m, _x, found: seen["networks"].update(
                t.dtype for t in (found if isinstance(found, tuple) else (found,))
            )
        )
    for likelihood in model.likelihoods.values():
        inner = likelihood.log_prob

        def log_prob(output: Tensor, x: Tensor, inner: object = inner) -> Tensor:
            found = inner(output, x)
            seen["likelihoods"].update((output.dtype, x.dtype, found.dtype))
            return found

        likelihood.log_prob = log_prob
    trained, _ = run(replace(HALF, epochs=1), tiny_data, model=model)
    assert seen == {"networks": {torch.bfloat16}, "likelihoods": {torch.float32}}
    assert {p.dtype for p in trained.parameters()} == {torch.float32}


def test_bfloat16_trains_alike_but_not_the_same(tiny_data: MultimodalData) -> None:
    """Two epochs' losses differ by less than 1 % from float32's, and are not the same."""
    (full, reports), (half, rounded) = (run(replace(c, epochs=2), tiny_data) for c in (CONFIG, HALF))
    assert not same_weights(full, half)
    for a, b in zip(reports, rounded, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-2)
        assert b.loss != a.loss


def test_the_default_precision_leaves_config_ids_as_they_were() -> None:
    """float32 is no part of a config's name, bfloat16 is; other words are refused."""
    assert TrialConfig(precision="float32").config_id == TrialConfig().config_id
    assert TrialConfig(precision="bfloat16").config_id != TrialConfig().config_id
    with pytest.raises(ConfigError, match=r"^precision is 'half'; possible: float32, bfloat16$"):
        TrialConfig.from_dict({"precision": "half"})
