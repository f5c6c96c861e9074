"""CPU time and memory of a training step: this project against multivae 1.0.3, from the same weights.

Run: make compare-cost      (this part: three minutes on one core; prints what it was measured on)

The paper's model (five modalities, Z=512, batches of 256), and the demo's narrow one, for which multivae has
no networks and gets ours; one thread. Ours is `mopoe.train` whole: order, gather, bytes to floats, noise,
the step, sums. Theirs is their model's `forward`, with `backward` and torch's Adam as their trainer calls
them, on batches that are floats already: their data set and loader are left out. Each side has a process of
its own, they take turns, and ratios are taken round by round. `peak` is what one large convolution reaches
in the same rounds; FLOPs are counted by hand.
"""

import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from alternate import alternate

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import header, random_data, spread

import mopoe

ROUNDS, M = 5, 5
# Each with its number of steps in a round.
SIZES = (
    (mopoe.TrialConfig(latent_dim=512, batch_size=256, epochs=1), 2),
    (mopoe.TrialConfig(latent_dim=96, batch_size=32, epochs=1, channels=(8, 16, 32)), 60),
)
SIDES = ("multivae", "ours", "ours, bf16", "peak", "peak, bf16")
PEAK_REPEATS = 8


def gflops(config: mopoe.TrialConfig) -> float:
    """Return the products and sums of a step of the networks, forward and backward, in 10^9."""
    # Encoder: three convolutions, a hidden layer, two heads; decoder: a layer, three transposed convolutions.
    places, widths, z = (14 * 14, 7 * 7, 4 * 4), (3, *config.channels), config.latent_dim
    maps = [n * 9 * a * b for n, (a, b) in zip(places, pairwise(widths), strict=True)]
    features = places[-1] * widths[-1]
    linear = features * z + 2 * z * z + z * features
    # Backward: by weights and by inputs, but not by the images.
    return 2e-9 * M * config.batch_size * (3 * (2 * sum(maps) + linear) - maps[0])


def make(config: mopoe.TrialConfig, steps: int, side: str) -> Callable[[], object]:
    """Return a function that trains some steps, or multiplies."""
    if side.startswith("peak"):
        return peak(torch.bfloat16 if "bf16" in side else torch.float32)
    torch.manual_seed(0)
    batch = config.batch_size
    data = random_data(batch * steps)
    model, n = mopoe.build_model(config, data.modalities), len(data.train)
    if side == "multivae":
        from bridge import dataset, peer

        has_networks = config.channels == mopoe.TrialConfig().channels
        theirs = peer("MoPoE", model, own_networks=has_networks, beta=config.beta).train()
        batches = [
            dataset({name: x[start : start + batch].float() / 255 for name, x in data.train.x.items()})
            for start in range(0, n, batch)
        ]
        optimizer = torch.optim.Adam(theirs.parameters(), lr=config.lr)

        def their_steps() -> None:
            for inputs in batches:
                loss = theirs(inputs, epoch=1, dataset_size=n, uses_ddp=False).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        return their_steps
    config = replace(config, precision="bfloat16" if "bf16" in side else "float32")
    return lambda: mopoe.train(config, data, bool, model=model)


def peak(dtype: torch.dtype) -> Callable[[], object]:
    """Return a function that convolves large maps, which oneDNN does faster than a matrix product."""
    x, weight = torch.randn(256, 128, 16, 16), torch.randn(128, 128, 3, 3)
    x, weight = (t.to(dtype).contiguous(memory_format=torch.channels_last) for t in (x, weight))

    def multiply() -> None:
        with torch.inference_mode():
            for _ in range(PEAK_REPEATS):
                torch.nn.functional.conv2d(x, weight, padding=1)

    return multiply


def measure(config: mopoe.TrialConfig, steps: int) -> None:
    """Print the table of a size."""
    size = f"M={M}, Z={config.latent_dim}, batch {config.batch_size}, channels {config.channels}"
    print(f"{size}: {gflops(config):.2f} GFLOP a step; 1 thread, {ROUNDS} rounds\n")
    rounds, mib = alternate(partial(make, config, steps), SIDES, ROUNDS)
    # 3 x 3 products at each of 16 x 16 places, but for those that meet the padding.
    work = PEAK_REPEATS * 2e-9 * 256 * 128 * 128 * (3 * 16 - 2) ** 2
    top = {side: [work / each[side] for each in rounds] for side in SIDES[3:]}
    head = ("", "ms", "samples/s", "their / our: median (min to max)", "of peak", "peak MiB")
    print("{:<11}{:>8}{:>10}{:>34}{:>9}{:>10}".format(*head))
    for side in SIDES[:3]:
        seconds = [each[side] / steps for each in rounds]
        ratios = spread([each["multivae"] / each[side] for each in rounds])
        best = top["peak, bf16" if "bf16" in side else "peak"]
        share = statistics.median(gflops(config) / s / t for s, t in zip(seconds, best, strict=True))
        middle = statistics.median(seconds)
        row = (side, 1e3 * middle, config.batch_size / middle, ratios, share, mib[side])
        print("{:<11}{:>8.1f}{:>10.0f}{:>34}{:>9.0%}{:>10.0f}".format(*row))
    for side, rates in top.items():
        print(f"{side}: {spread(rates)} GFLOP/s")
    print()


def main() -> None:
    """Print the tables."""
    print(header("multivae"))
    for config, steps in SIZES:
        measure(config, steps)


if __name__ == "__main__":
    main()
