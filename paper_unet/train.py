"""Training as in sec. 3: stochastic gradient descent, momentum 0.99, one large tile a step.

One flat loop. Everything random in step n follows from (seed, n), so a run that was killed and
resumed is, on the same CPU with the same number of threads, the run that was not, bit for bit.
"""

from __future__ import annotations

import json
import math
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from paper_unet.augment import AugmentSettings
from paper_unet.checkpoint import describe, load_weights, read_tensors, save_model, write_tensors
from paper_unet.errors import DivergedError, InputError
from paper_unet.geometry import output_size
from paper_unet.images import open_stack, parse_slices, read_stack, to_unit_range, write_atomic
from paper_unet.loss import weighted_cross_entropy
from paper_unet.model import UNet
from paper_unet.samples import TileSampler, TrainingSet, instances_from_membranes, training_set

CHECKPOINT, WEIGHTS, LOG, CONFIG = (
    "checkpoint.safetensors",
    "weights.safetensors",
    "log.jsonl",
    "config.json",
)


@dataclass(frozen=True)
class TrainConfig:
    """Every setting of a training run. The defaults are the paper's where it speaks.

    The command line of ``paper-unet train`` is made from these fields and their descriptions.
    """

    # data
    images: Annotated[str, "TIFF stack of grey sections"] = ""
    labels: Annotated[str, "TIFF stack of labels, of the same shape"] = ""
    out: Annotated[str, "folder for weights, checkpoint, log and configuration"] = "runs/unet"
    slices: Annotated[str, "sections to train on, such as 0:24; default: all"] = ""
    label_kind: Annotated[
        Literal["membrane", "instance"], "0 = membrane and one value = cell, or a number per cell"
    ] = "membrane"
    value_range: Annotated[
        tuple[float, float] | None, "grey values that mean 0 and 1; default for uint8: 0 255"
    ] = None
    # network
    width: Annotated[int, "channels of the first level (Fig. 1: 64)"] = 64
    dropout: Annotated[float, "drop-out rate (sec. 3.1; not in the paper: the rate)"] = 0.5
    release: Annotated[bool, "the variant of the authors' 2015 release"] = False
    # loss
    w0: Annotated[float, "border weight (sec. 3: 10)"] = 10.0
    sigma: Annotated[float, "width of the border weight, pixels (sec. 3: 5)"] = 5.0
    normalise: Annotated[bool, "divide the energy by the sum of the weights (not in the paper)"] = (
        True
    )
    # augmentation
    grid: Annotated[int, "nodes per axis of the elastic deformation (sec. 3.1: 3)"] = 3
    elastic: Annotated[float, "its standard deviation, pixels (sec. 3.1: 10)"] = 10.0
    rotate: Annotated[bool, "by any angle (sec. 3.1; not in the paper: the range)"] = True
    mirror: Annotated[bool, "(not in the paper)"] = True
    shift: Annotated[bool, "anywhere in the section (sec. 3.1; not in the paper: the range)"] = True
    grey: Annotated[
        float, "strength of the grey-value change (sec. 3.1; not in the paper: the model)"
    ] = 1.0
    # optimisation
    centre: Annotated[
        float,
        "subtracted from the input while training, then moved into the first biases "
        "(not in the paper)",
    ] = 0.5
    tile: Annotated[int, "input side of a tile, pixels, 16k + 60 (Fig. 1: 572)"] = 572
    steps: Annotated[int, "(not in the paper)"] = 20_000
    momentum: Annotated[float, "(sec. 3: 0.99)"] = 0.99
    lr: Annotated[float, "learning rate (not in the paper)"] = 1e-3
    warmup: Annotated[int, "steps of linear warm-up (not in the paper)"] = 100
    decay: Annotated[
        float, "last share of the steps, with a cosine down to 0 (not in the paper)"
    ] = 0.4
    weight_decay: Annotated[float, "(not in the paper)"] = 0.0
    # run
    seed: Annotated[int, "of the weights, the tiles and the drop-out"] = 0
    device: Annotated[str, "auto, cpu, cuda or cuda:N"] = "auto"
    precision: Annotated[Literal["float32", "tf32", "bfloat16"], "arithmetic of the network"] = (
        "float32"
    )
    channels_last: Annotated[bool, "memory layout of the feature maps"] = False
    cuda_graph: Annotated[bool, "record the kernels of a step once and replay them; CUDA"] = False
    log_every: Annotated[int, "steps"] = 20
    checkpoint_every: Annotated[int, "steps"] = 500

    def __post_init__(self) -> None:
        output_size(self.tile)
        for name in ("width", "steps", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name, top in (("momentum", 1.0), ("decay", 1.0 + 1e-12), ("dropout", 1.0)):
            if not 0 <= getattr(self, name) < top:
                raise InputError(f"{name} is {getattr(self, name)}; it must be in [0, 1)")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise InputError(f"lr is {self.lr}; it must be above 0")
        for name, accepted in _CHOICES.items():
            if getattr(self, name) not in accepted:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(accepted)}"
                )

    @property
    def augmentation(self) -> AugmentSettings:
        """The settings that `augment` needs."""
        names = [field.name for field in fields(AugmentSettings)]
        return AugmentSettings(**{name: getattr(self, name) for name in names})


_CHOICES = {
    "label_kind": ("membrane", "instance"),
    "precision": ("float32", "tf32", "bfloat16"),
}


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the rate of a step (from 0): linear warm-up, constant, cosine to 0 at the end."""
    rate = config.lr * min(1.0, (step + 1) / max(config.warmup, 1))
    start = (1 - config.decay) * config.steps
    if step > start:
        rate *= 0.5 * (1 + math.cos(math.pi * (step - start) / (config.steps - start)))
    return rate


def pick_device(name: str) -> torch.device:
    """Return the device of this name; ``auto`` is CUDA where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device is {name!r}; it must be auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device is {name!r}, and PyTorch sees {torch.cuda.device_count()} CUDA devices here; "
            "use auto or cpu"
        )
    return device


def read_training_set(config: TrainConfig) -> TrainingSet:
    """Read the sections and labels that a configuration names, and weigh them.

    Raises
    ------
    InputError
        If a file cannot be used, the stacks differ in shape, or the labels are not of the kind
        that the configuration says.
    """
    images, labels = read_stack(config.images), read_stack(config.labels)
    if images.shape != labels.shape:
        raise InputError(
            f"{config.images} is {images.shape}, {config.labels} is {labels.shape} (Z, Y, X); "
            "give one label section of the same size for each image section"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{config.labels}: labels are {labels.dtype}; integers are needed")
    chosen = list(parse_slices(config.slices or None, len(images)))
    images = to_unit_range(images[chosen], config.value_range, name=config.images)
    labels = labels[chosen]
    kind = config.label_kind
    instances = instances_from_membranes(labels) if kind == "membrane" else labels
    return training_set(
        images, instances, w0=config.w0, sigma=config.sigma, separate=kind == "instance"
    )


def new_network(config: TrainConfig, in_channels: int = 1) -> UNet:
    """Return the untrained network of a configuration, drawn from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.release:
            w = config.width
            return UNet(
                in_channels, 2, w, dropout=config.dropout, up_relu=True, last_up_width=2 * w
            )
        return UNet(in_channels, 2, config.width, dropout=config.dropout)


def train(
    config: TrainConfig,
    data: TrainingSet | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> UNet:
    """Train a network and leave it in ``config.out``.

    Parameters
    ----------
    config : TrainConfig
    data : TrainingSet, optional
        Used in place of the files that the configuration names.
    resume : bool
        Go on from the folder's checkpoint, if there is one; its configuration must be the same.
    overwrite : bool
        Begin anew in a folder that holds a run.
    progress : bool
        Show a progress bar.

    Returns
    -------
    UNet
        In evaluation mode, on the training device. The folder holds ``weights.safetensors`` (what
        `load_model` and ``paper-unet predict`` take), ``checkpoint.safetensors`` (to resume),
        ``config.json`` and ``log.jsonl`` (step, mean loss, learning rate, seconds).

    Raises
    ------
    InputError
        If the data or the folder cannot be used.
    DivergedError
        At the first loss that is not finite.
    """
    out = Path(config.out)
    device = pick_device(config.device)
    _refuse_to_overwrite(out, config, resume, overwrite)
    data = data or read_training_set(config)
    model = new_network(config, data.images.shape[1]).to(device)
    if config.value_range and config.images:
        with open_stack(config.images) as stack:
            model.grey_ranges[str(stack.dtype)] = config.value_range
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = new_optimizer(model, config)
    out.mkdir(parents=True, exist_ok=True)
    step = _restore(out, config, model, optimizer) if resume else 0
    _prepare_folder(out, config, step)
    sampler = TileSampler(data, config.tile, config.augmentation, config.seed, device)
    started, pending = time.monotonic(), []
    model.train()
    with (
        reproducible(config.precision, device),
        replayed(model, sampler, config),
        tqdm(total=config.steps, initial=step, unit="step", disable=not progress) as bar,
    ):
        while step < config.steps:
            pending.append(train_step(model, optimizer, sampler, step, config))
            step += 1
            if step % config.log_every and step % config.checkpoint_every and step < config.steps:
                continue
            losses, pending = torch.stack(pending).tolist(), []
            _stop_if_not_finite(losses, step, config)
            _log(out, step, losses, config, time.monotonic() - started)
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{np.mean(losses):.4f}")
            if step % config.checkpoint_every == 0 or step == config.steps:
                _save_checkpoint(out, step, config, model, optimizer)
    absorb_shift(model, config.centre)
    model.record = {
        "config": _comparable(config),
        "steps": step,
        "sections": len(data.images),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
    save_model(out / WEIGHTS, model)
    return model.eval()


def train_step(
    model: UNet,
    optimizer: torch.optim.Optimizer,
    sampler: TileSampler,
    step: int,
    config: TrainConfig,
) -> Tensor:
    """One tile forward, back and down the gradient; returns the loss, still on the device."""
    torch.manual_seed(int(np.random.SeedSequence((config.seed, step, 1)).generate_state(1)[0]))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, config)
    tile = sampler[step]
    with _arithmetic(tile.image.device, config):
        scores = model(_laid_out(tile.image - config.centre, config))
    loss = weighted_cross_entropy(scores, tile.labels, tile.weights, normalise=config.normalise)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


@contextmanager
def reproducible(precision: str, device: torch.device) -> Iterator[None]:
    """Deterministic kernels, the asked-for arithmetic, and the caller's random state untouched."""
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=precision == "tf32"
        ),
    ):
        yield


@contextmanager
def replayed(model: UNet, sampler: TileSampler, config: TrainConfig) -> Iterator[None]:
    """Within, the network's forward and backward passes are replays of one CUDA graph.

    A step has some hundred small kernels, which a narrow network runs faster than Python launches
    them. Off the GPU, or when the configuration does not ask for it, nothing changes.
    """
    if not config.cuda_graph or sampler.images.device.type != "cuda":
        yield
        return
    example = _laid_out(sampler[0].image, config)
    with _arithmetic(example.device, config):
        torch.cuda.make_graphed_callables(model, (example,))
    try:
        yield
    finally:
        del model.forward  # the recorded one, which hides the class's own


@torch.no_grad()
def absorb_shift(model: UNet, centre: float) -> None:
    """Change the first biases so that the network gives for v what it gave for v - ``centre``.

    A convolution without padding is linear in a constant, so this is exact up to rounding. It lets
    training see centred values, which momentum 0.99 needs to stay stable, while the network that
    comes out takes grey values in [0, 1] and nothing else.
    """
    first = model.down0[0]
    assert isinstance(first, torch.nn.Conv2d) and first.bias is not None  # noqa: S101
    first.bias -= centre * first.weight.sum(dim=(1, 2, 3))


def _arithmetic(device: torch.device, config: TrainConfig) -> torch.autocast:
    return torch.autocast(
        device.type,
        torch.bfloat16,
        enabled=config.precision == "bfloat16",
        cache_enabled=not config.cuda_graph,  # a graph must not hold on to casts of old weights
    )


def _laid_out(image: Tensor, config: TrainConfig) -> Tensor:
    return image.contiguous(memory_format=torch.channels_last) if config.channels_last else image


def new_optimizer(model: UNet, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser of sec. 3: stochastic gradient descent with momentum 0.99."""
    return torch.optim.SGD(
        model.parameters(),
        config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=next(model.parameters()).is_cuda,
    )


def _comparable(config: TrainConfig) -> dict[str, Any]:
    """Return what has to agree for a run to be the same: not where it lies or how it reports."""
    aside = ("out", "log_every", "checkpoint_every")
    return {key: value for key, value in asdict(config).items() if key not in aside}


def _refuse_to_overwrite(out: Path, config: TrainConfig, resume: bool, overwrite: bool) -> None:
    if (out / CHECKPOINT).exists() and not (resume or overwrite):
        raise InputError(f"{out} already holds a run; use --resume, --overwrite or another folder")


def _restore(out: Path, config: TrainConfig, model: UNet, optimizer: torch.optim.Optimizer) -> int:
    """Load the checkpoint of a folder, if there is one, and return its step."""
    path = out / CHECKPOINT
    if not path.exists():
        return 0
    tensors, about = read_tensors(path)
    then = about.get("config", {})
    now = json.loads(json.dumps(_comparable(config)))
    differing = [key for key in now.keys() | then.keys() if now.get(key) != then.get(key)]
    if differing:
        key = sorted(differing)[0]
        raise InputError(
            f"{path}: was trained with {key} = {then.get(key)!r}, now {now.get(key)!r}; give the "
            "same settings to resume, or another folder"
        )
    load_weights(model, {k: v for k, v in tensors.items() if "/" not in k}, path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return int(about["step"])


def _save_checkpoint(
    out: Path, step: int, config: TrainConfig, model: UNet, optimizer: torch.optim.Optimizer
) -> None:
    tensors = dict(model.state_dict())
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer/{index}/{key}"] = value
    about = {**describe(model), "config": _comparable(config), "step": step}
    write_tensors(out / CHECKPOINT, tensors, about)


def _prepare_folder(out: Path, config: TrainConfig, step: int) -> None:
    """Write the resolved configuration and drop log lines of steps that will be done again."""
    write_atomic(out / CONFIG, (json.dumps(asdict(config), indent=2) + "\n").encode())
    log = out / LOG
    lines = log.read_text().splitlines(keepends=True) if step and log.exists() else []
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    write_atomic(log, "".join(kept).encode())


def _log(out: Path, step: int, losses: list[float], config: TrainConfig, seconds: float) -> None:
    entry = {
        "step": step,
        "loss": float(np.mean(losses)),
        "lr": learning_rate(step - 1, config),
        "seconds": round(seconds, 3),
    }
    with (out / LOG).open("a") as file:
        file.write(json.dumps(entry) + "\n")


def _stop_if_not_finite(losses: list[float], step: int, config: TrainConfig) -> None:
    for offset, loss in enumerate(losses):
        if not math.isfinite(loss):
            at = step - len(losses) + offset
            raise DivergedError(
                f"the loss became {loss} at step {at + 1} with learning rate "
                f"{learning_rate(at, config):.3g}; the checkpoint in {shlex.quote(config.out)} is "
                "from before: use a smaller --lr"
            )
