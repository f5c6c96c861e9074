"""A training epoch with like networks computed together, against the same networks one by one.

Run: python benchmarks/banks.py      (about five minutes)

Both ways train the same trial on random pixels by `mopoe.train`, in turn, with one thread; the times are CPU
time per step, the ratios are taken round by round. Where a convolution has more than 64 channels the networks
are computed one by one in either way; the last row is there to show it.
"""

import statistics
import time
from dataclasses import replace

import torch
from common import header, random_data, spread

import mopoe.model
from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.data.registry import ModalitySpec
from mopoe.runtime import keep_freed_memory
from mopoe.training import train

ROUNDS, STEPS = 9, 8
IMAGES = tuple(ModalitySpec(name=f"m{i}", shape=(3, 28, 28)) for i in range(5))
ROWS = (
    ("digits.yaml", IMAGES, TrialConfig(channels=(8, 16, 32), latent_dim=96, batch_size=32)),
    (
        "the same, latent 64, batch 256",
        IMAGES,
        TrialConfig(channels=(8, 16, 32), latent_dim=64, batch_size=256),
    ),
    ("channels 16-32-64", IMAGES, TrialConfig(channels=(16, 32, 64), latent_dim=64, batch_size=32)),
    ("two modalities", IMAGES[:2], TrialConfig(channels=(8, 16, 32), latent_dim=64, batch_size=32)),
    ("channels 32-64-128, as PolyMNIST", IMAGES, TrialConfig(latent_dim=64, batch_size=64)),
)
PARTS = {
    "convolutions": ("_Chain", "_ChainBackward"),
    "matrix products": tuple(f"aten::{name}" for name in ("mm", "bmm", "addmm", "baddbmm")),
    "Adam": ("aten::_fused_adam_", "Optimizer.step#Adam.step", "Optimizer.zero_grad#Adam.zero_grad"),
    "likelihood": ("_AbsoluteError", "_AbsoluteErrorBackward"),
    "copies": ("aten::copy_", "aten::index_select", "aten::cat"),
}
banks = mopoe.model.banks


def step_ms(data: MultimodalData, config: TrialConfig, *, together: bool) -> float:
    """Return the CPU time of a step in ms, of an epoch after one that warms up."""
    mopoe.model.banks = banks if together else lambda networks: ()  # noqa: ARG005 - the same signature
    times: list[float] = []
    train(replace(config, epochs=2), data, lambda _: times.append(time.process_time()))
    return 1e3 * (times[1] - times[0]) / STEPS


def account(config: TrialConfig, data: MultimodalData) -> dict[str, float]:
    """Return the CPU ms of each part of a step, as torch's profiler counts them, and of all else."""
    mopoe.model.banks, seen = banks, []

    def on_report(_: object) -> None:  # the first epoch warms up
        profiler.stop() if seen else profiler.start()
        seen.append(True)

    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    train(replace(config, epochs=2), data, on_report)
    found = dict.fromkeys([*PARTS, "other operations"], 0.0)
    for event in profiler.key_averages():
        part = next((part for part, names in PARTS.items() if event.key in names), "other operations")
        found[part] += event.self_cpu_time_total / 1e3 / STEPS
    return found


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    keep_freed_memory()
    print(header())
    print(f"1 thread, CPU time\n{'':34}{'one by one ms':>15}{'together ms':>13}   one by one / together")
    for name, modalities, config in ROWS:
        data = random_data(config.batch_size * STEPS, modalities)
        rounds = [[step_ms(data, config, together=way) for way in (False, True)] for _ in range(ROUNDS)]
        alone, together = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = spread([a / b for a, b in rounds])
        print(f"{name:<34}{alone:>15.1f}{together:>13.1f}   {ratio}")
    name, modalities, config = ROWS[0]
    parts = account(config, random_data(config.batch_size * STEPS, modalities))
    print(f"\nA step of {name} together, as the profiler has it, ms (its own cost included):")
    for part, ms in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"{part:<34}{ms:>8.1f}{ms / sum(parts.values()):>8.0%}")


if __name__ == "__main__":
    main()
