"""Images of generated samples in a grid. The one module that imports torchvision, and only when called.

torchvision's wheel is built for CUDA and does not import beside a CPU build of torch, because it registers
fake kernels for two operators that its own unloadable library would have defined. Declaring the two is
enough; nothing pretends that the compiled operators exist (torch 2.13, torchvision 0.28).
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from mopoe.data.container import Split
from mopoe.evaluation.latents import source_latents
from mopoe.model import MoPoE

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Return torchvision, declaring the operators that its import needs beside a CPU build of torch."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)  # the declarations live as long as this object
    return importlib.import_module("torchvision")


def sample_grid(model: MoPoE, split: Split, source_mask: int, n: int, seed: int) -> Tensor:
    """Return a grid of images [3, H, W] in 0..1, one column per held-out sample.

    The upper half shows the real modalities, the lower half what the model generates for every modality from
    the source subset; with an empty source (0) the lower half is drawn from the prior.
    """
    utils = importlib.import_module("torchvision.utils") if import_torchvision() else None
    assert utils is not None
    n = min(n, len(split))
    model.eval()
    with torch.inference_mode():
        x = split.batch(slice(0, n), torch.device("cpu"))
        means = model.means(*source_latents(model, split, source_mask, seed, "grid", 0, n))
        rows = [x[name] for name in model.names] + [means[name].clamp(0, 1) for name in model.names]
    grid: Tensor = utils.make_grid(torch.cat(rows), nrow=n, padding=2, pad_value=1.0)
    return grid


def save_grid(grid: Tensor, path: Path) -> None:
    """Write a grid as an image file; its format follows the name's ending."""
    import_torchvision()
    importlib.import_module("torchvision.utils").save_image(grid, path)
