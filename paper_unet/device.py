"""Which device to compute on."""

from __future__ import annotations

import torch

from paper_unet.errors import InputError


def pick_device(name: str) -> torch.device:
    """Return the device of this name; ``auto`` is CUDA where there is one, else the CPU.

    Raises
    ------
    InputError
        If it is none of auto, cpu, cuda and cuda:N, or PyTorch does not see it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"device is {name!r}; it must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device is {name!r}, and PyTorch sees {torch.cuda.device_count()} CUDA devices here; "
            "use auto or cpu"
        )
    return device
