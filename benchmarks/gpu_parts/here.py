"""The GPU, or why there is none; and what every result says of where it comes from."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import torch


def why_none() -> str | None:
    """Why torch sees no GPU, and what to do; None if it sees one."""
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        what = f"this PyTorch ({torch.__version__}) was built without CUDA"
        return f"{what}; install a build with it (https://pytorch.org/get-started/locally)"
    built = f"PyTorch {torch.__version__} was built for CUDA {torch.version.cuda}"
    try:
        torch.cuda.init()
    except Exception as error:
        reason = " ".join(str(error).split())
    else:
        reason = ""
    if "too old" in reason:
        found = re.search(r"found version (\d+)", reason)
        number = f", which knows CUDA {_cuda(int(found[1]))} at most," if found else ""
        return f"the NVIDIA driver{number} is too old: {built}; update the driver, or install an older build"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and driver() != UNKNOWN:
        return f"no GPU can be seen with CUDA_VISIBLE_DEVICES={hidden!r}; unset it, or name one that is there"
    if not reason or "no NVIDIA driver" in reason.replace("Found ", "") or "No CUDA GPUs" in reason:
        return f"there is no GPU here, or no NVIDIA driver for it: {built}, and nvidia-smi should list it"
    return f"CUDA cannot be used here: {reason[:300]}"


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


UNKNOWN = "unknown"


def driver() -> str:
    """The version of NVIDIA's driver."""
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout.split("\n")[0].strip() or UNKNOWN
    except (OSError, subprocess.SubprocessError):
        pass
    try:
        found = re.search(r"Kernel Module\s.*?(\d+\.[\d.]+)", Path("/proc/driver/nvidia/version").read_text())
    except OSError:
        found = None
    return found[1] if found else UNKNOWN


def about(device: str) -> dict[str, str]:
    """GPU, its memory, driver, and versions; on a CPU `gpu` is empty."""
    here = {"device": device, "gpu": "", "torch": torch.__version__, "cuda": str(torch.version.cuda or "none")}
    if device == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory
        here |= {"gpu": torch.cuda.get_device_name(0), "memory": f"{memory / 1e9:.1f} GB", "driver": driver()}
    return here
