"""Where a result was made: printed and saved beside every number."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

RESULTS = ":(top,exclude)experiments/results"


def environment() -> dict[str, str]:
    """Return date, versions, hardware and, in a checkout, the commit."""
    import torch

    found = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "cpu": f"{_cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    commit = _commit()
    return found | ({"commit": commit} if commit else {})


def versions() -> dict[str, str]:
    """Return what a report of a fault needs, in no time: PyTorch is looked at, not imported."""
    return {
        "paper-unet": version("paper-unet"),
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        "torch": _of_torch("__version__") or version("torch"),  # its package leaves out which build
        "CUDA": f"{_of_torch('cuda') or 'none'} in this torch; driver {_driver() or 'none'}",
        "CPU": f"{_cpu_name()}, {os.cpu_count()} cores, capability {_cpu_capability()}",
    }


def _of_torch(name: str) -> str | None:
    """Return what the installed PyTorch says of itself: its version, or that of its CUDA."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return None
    text = Path(torch.origin).with_name("version.py").read_text()
    found = re.search(rf"^{name}\b.*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
    return found[1] if found else None


def _driver() -> str | None:
    """Return the version of the NVIDIA driver of this machine, on Linux."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    found = re.search(r"\s(\d+\.[\d.]+)\s", text)
    return found[1] if found else None


def _cpu_capability() -> str:
    """Return which kernels PyTorch takes: by its own rule, or as it was told."""
    told = os.environ.get("ATEN_CPU_CAPABILITY")
    flags = set(_cpuinfo("flags").split())
    wide = {"avx512f", "avx512vl", "avx512bw", "avx512dq"} <= flags
    best = "AVX512" if wide else "AVX2" if {"avx2", "fma"} <= flags else "DEFAULT"
    best += ", bfloat16" if flags & {"avx512_bf16", "amx_bf16"} else ""
    return f"{told.upper()} (told; else {best})" if told else best


def _cpu_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(name: str) -> str:
    """Return an entry of the first processor, on Linux; else nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _commit() -> str | None:
    """Return the commit of a checkout, "-dirty" where its code is not as committed.

    What experiments leave among their committed results is not code.
    """
    name = _git("describe", "--always")
    if name is None:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", RESULTS)
    return f"{name}-dirty" if changed else name


def _git(*words: str) -> str | None:
    try:
        run = subprocess.run(  # noqa: S603  (words of this module)
            ["git", *words],  # noqa: S607  (no shell; git is on PATH)
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()
