"""One step of training: a tile, forward, back and down the gradient (sec. 3).

On a GPU all of it is one CUDA graph from the fourth step on: the tile is made there of numbers that
a thread draws ahead, and nothing waits for the host. The same code, called as it is, is the step on
a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Final

import numpy as np
import torch
from torch import Tensor

from paper_unet.networks.base import Network
from paper_unet.system.device import deterministic, recording
from paper_unet.system.overlap import Ahead
from paper_unet.training.config import TrainConfig, learning_rate
from paper_unet.training.tiles import Sample, TileSampler, energy

WARM_UP: Final = 3
"""Steps before the graph is recorded: cuDNN has then chosen, and the optimiser has its memory."""


class Trainer:
    """Takes the steps of a run.

    Parameters
    ----------
    model : Network
        In training mode.
    optimizer : torch.optim.Optimizer
        Made by `new_optimizer`.
    sampler : TileSampler
    config : TrainConfig
    record : bool
        Whether a GPU may replay what was recorded; the values are the same.
    """

    def __init__(
        self,
        model: Network,
        optimizer: torch.optim.Optimizer,
        sampler: TileSampler,
        config: TrainConfig,
        *,
        record: bool = True,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.sampler, self.config = sampler, config
        self._device = sampler.images.device
        self._on_card = self._device.type == "cuda"
        numbers = torch.from_numpy(sampler.numbers(0))
        self._numbers = numbers.float().to(self._device) if self._on_card else numbers
        self._records = record and self._on_card
        _lay_out_state(optimizer)
        self._taken = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._found: Tensor | None = None
        self._pool = ThreadPoolExecutor(1) if self._on_card else None
        self._draws: tuple[int, Iterator[Tensor]] | None = None

    def close(self) -> None:
        """End the thread."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> Tensor:
        """Take a step, counted from 0.

        Returns
        -------
        Tensor of float32, shape (3,)
            On the device: the loss, that of the best constant map, and the standard deviation of
            the scores over the tile.
        """
        _seed_dropout(self.config.seed, step, self._device)
        self._set_rate(learning_rate(step, self.config))
        self._numbers.copy_(self._drawn(step), non_blocking=True)
        self._taken += 1
        if not self._on_card:
            return self._work()
        with torch.cuda.device(self._device):
            if self._taken <= WARM_UP or not self._records:
                return self._beside()
            if self._graph is None:
                self._record()
            return self._replayed()

    def _drawn(self, step: int) -> Tensor:
        """Return the numbers of a tile; on a GPU drawn ahead, in memory that it reads by itself."""
        if self._pool is None:
            return torch.from_numpy(self.sampler.numbers(step))
        if self._draws is None or self._draws[0] != step:
            self._draws = step, Ahead(self._pinned, count(step), self._pool)
        drawn = next(self._draws[1])
        self._draws = step + 1, self._draws[1]
        return drawn

    def _pinned(self, step: int) -> Tensor:
        return torch.from_numpy(self.sampler.numbers(step).astype(np.float32)).pin_memory()

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _work(self) -> Tensor:
        """Make the tile of the numbers and learn from it."""
        tile, config = self.sampler.made_of(self._numbers), self.config
        enabled = config.precision == "bfloat16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=enabled):
            scores = self.model(laid_out(tile.image - config.centre, config))
        loss = energy(self.model, scores, tile, normalise=config.normalise)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return torch.stack([loss.detach(), *_of_a_constant(scores.detach(), tile, config)])

    def _beside(self) -> Tensor:
        """Work in another stream, as what is recorded later has to begin."""
        here = torch.cuda.current_stream(self._device)
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            found = self._work()
        here.wait_stream(stream)
        found.record_stream(here)
        return found

    def _record(self) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with recording(self._graph):
            self._found = self._work()

    def _replayed(self) -> Tensor:
        if self._graph is None or self._found is None:
            raise RuntimeError("nothing was recorded")
        self._graph.replay()
        return self._found.clone()


def _of_a_constant(scores: Tensor, tile: Sample, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Return the loss of the constant map that is best for a tile, and the spread of the scores."""
    classes = max(scores.shape[1], 2)
    weights = tile.weights.float()
    kinds = torch.arange(classes, device=scores.device).view(-1, 1, 1, 1)
    masses = (weights * (tile.labels == kinds)).sum(dim=(1, 2, 3))
    total = masses.sum()
    shares = masses / total.clamp_min(1e-12)
    entropy = -(shares * shares.clamp_min(1e-12).log()).sum()
    best = entropy if config.normalise else entropy * total
    wide = scores.float()
    spread = (wide - wide.mean(dim=(0, 2, 3), keepdim=True)).square().mean().sqrt()
    return best, spread


def _lay_out_state(optimizer: torch.optim.Optimizer) -> None:
    """Give what an optimiser keeps of each parameter the memory layout of that.

    A checkpoint knows none, and fused updates need one for all.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value).detach()


def _seed_dropout(seed: int, step: int, device: torch.device) -> None:
    """Make the drop-out of a step follow from (seed, step), on the CPU or on one GPU."""
    state = int(np.random.SeedSequence((seed, step, 1)).generate_state(1)[0])
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(state)
    else:
        torch.default_generator.manual_seed(state)


@contextmanager
def reproducible(precision: str, device: torch.device) -> Iterator[None]:
    """Use deterministic kernels and the asked-for arithmetic; keep the caller's random state."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), deterministic(tf32=precision == "tf32"):
        yield


def laid_out(image: Tensor, config: TrainConfig) -> Tensor:
    """Return an image in the memory layout of a configuration."""
    return image.contiguous(memory_format=torch.channels_last) if config.channels_last else image


def new_optimizer(model: Network, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser of sec. 3, gradient descent with momentum, or Adam, or RMSprop.

    On a GPU its rate is a tensor, and it can be part of a graph.
    """
    parameters, decay = list(model.parameters()), config.weight_decay
    device = parameters[0].device
    on_card = device.type == "cuda"
    rate = torch.tensor(config.rate, device=device) if on_card else config.rate
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=decay, capturable=on_card)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            parameters, rate, momentum=config.momentum, weight_decay=decay, capturable=on_card
        )
    fused = {"fused": True} if on_card else {}
    return torch.optim.SGD(parameters, rate, momentum=config.momentum, weight_decay=decay, **fused)
