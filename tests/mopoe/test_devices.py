"""What is set for a device."""

import pytest
import torch

from mopoe.runtime import prepared


def test_a_gpu_repeats_its_numbers_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may neither add in any order nor round to TF32; for a CPU nothing is changed."""
    for name, value in (("deterministic", False), ("allow_tf32", True)):
        monkeypatch.setattr(torch.backends.cudnn, name, value)
    assert prepared("cpu") == torch.device("cpu")
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32) == (False, True)
    assert prepared("cuda").type == "cuda"
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32) == (True, False)
