"""Operators of a training step that a GPU would launch kernels for, networks one by one and together.

Run: python benchmarks/launches.py      (seconds)

Counted on a CPU without compiled code: every operator that torch dispatches and that is no view and computes
something. Some take several kernels on a GPU, so that the counts are compared, not taken as launches.
"""

import os

os.environ |= {"MOPOE_KERNELS": "0", "MOPOE_BANKS": "1"}  # read when mopoe is imported

from typing import Any

import torch
from common import header
from torch.utils._python_dispatch import TorchDispatchMode

from mopoe.batch_loss import batch_loss
from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.elbo import LossWeights
from mopoe.model import build_model
from mopoe.training import step_draws

BATCH = 32
FREE = ("empty", "view", "detach", "record_function", "split", "unbind")
"""Parts of the names of operators that compute nothing."""


class Counted(TorchDispatchMode):
    """Counts operators while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the operator."""
        self.number += not (func.is_view or any(part in str(func) for part in FREE))
        return func(*args, **(kwargs or {}))


def operators(channels: tuple[int, int, int], latent_dim: int, *, together: bool) -> int:
    """Return the number of operators of a step with five modalities, after the first."""
    config = TrialConfig(latent_dim=latent_dim, channels=channels, batch_size=BATCH)
    modalities = tuple(ModalitySpec(name=f"m{i}", shape=(3, 28, 28)) for i in range(5))
    model = build_model(config, modalities)
    if together:
        model.bank()
    optimizer = torch.optim.Adam(model.trained, fused=True)
    loss, x = (
        batch_loss(model, config, model.device),
        {m.name: torch.rand(BATCH, *m.shape) for m in modalities},
    )
    for step in range(2):
        with Counted() as counted:
            optimizer.zero_grad(set_to_none=True)
            loss(x, step_draws(config, model, step, BATCH), LossWeights(beta=1.0), None).loss.backward()
            optimizer.step()
    return counted.number


def main() -> None:
    """Print the table."""
    print(header())
    print(f"{'channels':>14}{'one by one':>12}{'together':>10}")
    for channels, latent_dim in (((8, 16, 32), 96), ((32, 64, 128), 512)):
        counts = [operators(channels, latent_dim, together=together) for together in (False, True)]
        print(f"{'-'.join(map(str, channels)):>14}{counts[0]:>12}{counts[1]:>10}")


if __name__ == "__main__":
    main()
