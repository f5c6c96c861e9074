"""The one module that imports torchvision, and only when called.

torchvision's wheel is built for CUDA and does not import beside a CPU build of torch, because it registers
fake kernels for two operators that its own unloadable library would have defined. Declaring the two is
enough; nothing pretends that the compiled operators exist (torch 2.13, torchvision 0.28).
"""

import importlib
import sys
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def torchvision(part: str) -> ModuleType:
    """Return a module of torchvision, such as `utils`, declaring what its import needs beside a CPU torch."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS:
            library.define(schema)
        _declared.append(library)  # the declarations live as long as this object
    return importlib.import_module(f"torchvision.{part}")
