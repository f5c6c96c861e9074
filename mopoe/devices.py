"""What is set for a device before something is computed on it."""

import torch


def prepared(device: torch.device | str) -> torch.device:
    """Return the device, on which float32 is float32 and the same computation gives the same numbers.

    For a GPU this changes two defaults of cuDNN for the whole process: it may choose algorithms that add in
    any order, and on GPUs since 2020 it rounds the factors of a convolution to ten bits (TF32).
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
    return device
