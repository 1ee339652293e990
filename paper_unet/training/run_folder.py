"""A run on disk: configuration, log, and the checkpoint that lets it go on after a crash."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from paper_unet.errors import InputError
from paper_unet.system.files import open_alone, sync_folder, write_atomic
from paper_unet.training.checkpoint import (
    CHECKPOINT,
    as_of_today,
    comparable,
    restore,
    save_checkpoint,
)
from paper_unet.training.config import TrainConfig
from paper_unet.training.log import LOG, append_log, log_until

WEIGHTS, CONFIG = "weights.safetensors", "config.json"

__all__ = [
    "CHECKPOINT",
    "CONFIG",
    "LOG",
    "WEIGHTS",
    "append_log",
    "as_of_today",
    "comparable",
    "locked",
    "prepare_folder",
    "refuse_to_overwrite",
    "restore",
    "save_checkpoint",
    "start_digest",
]


def start_digest(config: TrainConfig) -> str:
    """Return the SHA-256 of the weights that training starts from; "" if they are random."""
    if not config.start:
        return ""
    try:
        return hashlib.sha256(Path(config.start).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{config.start}: cannot be read: {error.strerror}") from error


def refuse_to_overwrite(out: Path, resume: bool, overwrite: bool) -> None:
    """Raise `InputError` if the folder holds a run and nobody said what is to become of it."""
    if resume and overwrite:
        raise InputError("resume and overwrite exclude each other; give one of them")
    existing = [name for name in (CHECKPOINT, WEIGHTS, CONFIG, LOG) if (out / name).exists()]
    if existing and not (resume or overwrite):
        raise InputError(
            f"{out} already holds a run ({existing[0]}); use --resume, --overwrite or another "
            "folder"
        )
    if resume and WEIGHTS in existing and CHECKPOINT not in existing:
        raise InputError(
            f"{out} holds weights and no {CHECKPOINT} to go on from; use another folder"
        )


def locked(out: Path) -> AbstractContextManager[object]:
    """Keep other processes from training into the same folder, in a ``with`` statement."""
    taken = f"{out}: another process is training there; wait for it or use another folder"
    return open_alone(out / ".lock", taken)


def prepare_folder(out: Path, config: TrainConfig, step: int) -> None:
    """Write the resolved configuration; drop what a run that goes on from ``step`` makes anew."""
    stale = [WEIGHTS] if step else [WEIGHTS, CHECKPOINT, LOG]
    for name in stale:
        (out / name).unlink(missing_ok=True)
    for partial in out.glob(".*.partial"):  # what a killed run was writing
        partial.unlink()
    sync_folder(out)
    write_atomic(out / CONFIG, (json.dumps(asdict(config), indent=2) + "\n").encode())
    write_atomic(out / LOG, b"".join(log_until(out, step)))
