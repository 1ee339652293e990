"""The log of a run: a JSON object in each line, and a digest by which a checkpoint knows them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np

from paper_unet.errors import InputError
from paper_unet.system.files import ROOM, naming_full_disk
from paper_unet.training.config import TrainConfig, learning_rate

LOG = "log.jsonl"

_SECONDS = re.compile(rb', "seconds": [^,}]*')


def append_log(
    out: Path, step: int, losses: list[float], config: TrainConfig, seconds: float, **more: float
) -> dict[str, float]:
    """Add one line: step, mean loss since the last line, learning rate, seconds, and more."""
    entry = {
        "step": step,
        "loss": float(np.mean(losses)),
        "lr": learning_rate(step - 1, config),
        "seconds": round(seconds, 3),
        **more,
    }
    line = json.dumps(entry) + "\n"
    with naming_full_disk(out / LOG, len(line), ROOM), (out / LOG).open("a") as file:
        file.write(line)
    return entry


def log_until(out: Path, step: int) -> list[bytes]:
    """Return the lines that are whole and not later than the step; a crash may cut one."""
    path = out / LOG
    data = path.read_bytes() if path.is_file() else b""
    return [line for line in data.splitlines(keepends=True) if _is_before(line, step)]


def log_digest(lines: list[bytes]) -> str:
    """Return the SHA-256 of lines but for the seconds, which differ each time."""
    return hashlib.sha256(b"".join(_SECONDS.sub(b"", line) for line in lines)).hexdigest()


def check_log(out: Path, step: int, expected: object) -> None:
    """Raise InputError unless the log up to a step is the one that its checkpoint knows.

    Parameters
    ----------
    out : Path
    step : int
        Of the checkpoint.
    expected : object
        The `log_digest` that it has; None from earlier versions, whose logs were not compared.
    """
    if expected is not None and log_digest(log_until(out, step)) != expected:
        raise InputError(
            f"{out / LOG}: up to step {step} it is not as the run wrote it; put back what it was, "
            "begin anew with `overwrite`, or use another folder"
        )


def _is_before(line: bytes, step: int) -> bool:
    try:
        return line.endswith(b"\n") and bool(json.loads(line)["step"] <= step)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return False
