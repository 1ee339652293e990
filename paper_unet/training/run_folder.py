"""The folder of a run: whose it is, what may become of it, and its configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paper_unet.errors import InputError
from paper_unet.images import file_of
from paper_unet.networks.base import Network
from paper_unet.networks.known_weights import locate
from paper_unet.networks.tensor_file import has_description
from paper_unet.networks.weights_file import load_model, save_model, weights_digest
from paper_unet.settings import recorded
from paper_unet.system.claim import Claim, marked, take_claim
from paper_unet.system.files import refuse_same_file, scratch_name, sync_folder, write_atomic
from paper_unet.system.identity import stamp_of
from paper_unet.system.names import kind_of
from paper_unet.training.checkpoint import CHECKPOINT, WEIGHTS
from paper_unet.training.config import TrainConfig
from paper_unet.training.log import LOG, log_until

CONFIG = "config.json"
LOCK, KIND = ".lock", "training"
FILES = CHECKPOINT, WEIGHTS, CONFIG, LOG
Seen = dict[str, tuple[int, int] | None]
"""What the files of a run folder were when they were looked at, by `stamp_of`."""


def start_digest(config: TrainConfig) -> str:
    """Return the SHA-256 of the weights that training starts from; "" if they are random."""
    if not config.start:
        return ""
    try:
        return hashlib.sha256(locate(config.start)[0].read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{config.start}: cannot be read: {error.strerror}") from error


def refuse_to_overwrite(out: Path, resume: bool, overwrite: bool, seen: Seen | None = None) -> Seen:
    """Raise `InputError` if the folder holds a run and nobody said what is to become of it.

    Parameters
    ----------
    out : Path
        Need not exist.
    resume, overwrite : bool
        What is to become of it.
    seen : dict, optional
        What an earlier look returned. What another process did since then is not what was allowed
        to be overwritten.

    Returns
    -------
    dict
        What is there.
    """
    if resume and overwrite:
        raise InputError("resume and overwrite exclude each other; give one of them")
    kinds = {name: kind_of(out / name) for name in FILES}
    existing = [name for name in FILES if kinds[name] is not None]
    if existing and not (resume or overwrite):
        raise InputError(
            f"{out} already holds a run ({existing[0]}); use `resume`, `overwrite` or another "
            "folder"
        )
    if other := next((name for name in existing if kinds[name] != "file"), None):
        raise InputError(
            f"{out / other}: is a {kinds[other]} and no file of a training, and stays as it is; "
            "move it elsewhere, or use another folder"
        )
    if existing and not _holds_a_run(out):
        raise InputError(
            f"{out / existing[0]}: nothing shows that a training made it, so it stays as it is; "
            "move it elsewhere, or use another folder"
        )
    if resume and WEIGHTS in existing and CHECKPOINT not in existing:
        raise InputError(
            f"{out} holds weights and no {CHECKPOINT} to go on from; use another folder"
        )
    found = {name: stamp_of(out / name) for name in existing}
    if overwrite and seen is not None and found != seen:
        raise InputError(
            f"{out}: another process has trained there meanwhile; look at what it left, then "
            "overwrite it or use another folder"
        )
    return found


def _holds_a_run(out: Path) -> bool:
    """Whether the folder is known as a training's: by its mark, or by a file that only one makes.

    Folders of earlier versions have no mark. A damaged file beside a sound one is the run's, too.
    """
    if marked(out / LOCK, KIND):
        return True
    for name in (CHECKPOINT, WEIGHTS):
        if kind_of(out / name) == "file" and has_description(out / name):
            return True
    return _has_keys(out / CONFIG, "w0", "sigma", "momentum") or _has_keys(
        out / LOG, "step", "loss", "lr", "seconds"
    )


def _has_keys(path: Path, *keys: str) -> bool:
    """Whether a file is a JSON object with some keys, or its first line is."""
    if kind_of(path) != "file":
        return False
    data = path.read_bytes()
    for text in (data, data.partition(b"\n")[0]):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            continue
        return isinstance(found, dict) and found.keys() >= set(keys)
    return False


@contextmanager
def locked(out: Path) -> Iterator[Claim]:
    """Keep other processes from training into the same folder, in a ``with`` statement."""
    taken = f"{out}: another process is training there; wait for it or use another folder"
    claim = take_claim(out / LOCK, KIND, taken, earlier=lambda head: not head)
    try:
        if not claim.token and _holds_a_run(out):  # of an earlier version
            claim.reset()
        yield claim
    finally:
        claim.release(keep=True)


def prepare_folder(out: Path, config: TrainConfig, step: int, token: str = "") -> None:
    """Write the resolved configuration; drop what a run that goes on from ``step`` makes anew.

    Also what a killed run was writing, which has the ``token`` of the folder's lock in its name.
    """
    stale = [WEIGHTS] if step else [WEIGHTS, CHECKPOINT, LOG]
    for name in stale:
        (out / name).unlink(missing_ok=True)
    for name in FILES if token else ():
        scratch_name(out / name, token).unlink(missing_ok=True)
    sync_folder(out)
    text = json.dumps(recorded(config), indent=2) + "\n"
    write_atomic(out / CONFIG, text.encode(), token=token)
    write_atomic(out / LOG, b"".join(log_until(out, step)), token=token)


def refuse_own_input(config: TrainConfig) -> None:
    """Raise `InputError` if the run would write over what it is made from."""
    start = locate(config.start)[0] if config.start else None
    for source in (config.images, config.labels, start):
        for name in FILES if source else ():
            refuse_same_file(file_of(str(source)), Path(config.out) / name)


def save_scores(out: Path, model: Network) -> None:
    """Write the weights again with what the network's record has gained, if they are still its."""
    with locked(out) as claim:
        if weights_digest(load_model(out / WEIGHTS)) != weights_digest(model):
            raise InputError(
                f"{out / WEIGHTS}: another process has trained there meanwhile, so the scores are "
                "not added to it"
            )
        save_model(out / WEIGHTS, model, token=claim.token)
