"""How a device computes while a trial trains: the same numbers every time, and float32 where float32 is asked for."""

from __future__ import annotations

import torch

from nas.trial.allocator import keep_freed_memory


def prepare(device: torch.device) -> None:
    """Set up this process for a trial on a device."""
    if device.type == "cpu":
        keep_freed_memory()
    elif device.type == "cuda":
        compute_exactly()


def compute_exactly() -> None:
    """Choose kernels for CUDA that give the same bits in every run, and that compute float32 in float32.

    By torch's defaults cuDNN may add up the gradients of a convolution's weights in any order, and rounds the float32
    numbers that a convolution multiplies to the 10 bits of TF32, from Ampere on. Measuring which kernel is fastest
    (`benchmark`) would choose another one in another run. Matrix products are float32 by torch's default, but not where the
    environment says otherwise (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE, which NVIDIA's images set).
    """
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def measure_kernels(device: torch.device) -> None:
    """Let cuDNN measure which of its kernels is fastest for each shape, and take that.

    Another run may measure otherwise and take another, which adds in another order.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True


def device_name(device: torch.device) -> str:
    """The kind of device, with the model of a GPU, such as `cuda (NVIDIA H200)`."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
