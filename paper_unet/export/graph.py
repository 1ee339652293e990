"""What is exported of a network: grey values in [0, 1] to probabilities, for any legal side."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from paper_unet.geometry import Context, Sides
from paper_unet.networks.base import Network

ROWS, COLUMNS = 2, 3
"""Axes of (N, C, H, W)."""

EXAMPLE: Final = (2, 4)
"""Steps of the lattice above the smallest side, of the example that is traced: no two sides of it
are equal, and none is the smallest."""


def sides_of(context: Context) -> Sides:
    """Return the sides that the graph of a network takes: the legal ones.

    Not the smallest of a padded network, at whose bottom one pixel is left: to `torch.export` a
    side of 1 is another case than all others.
    """
    legal = context.sides
    return replace(legal, smallest=max(legal.smallest, 2 * legal.step)) if context.padded else legal


class Probabilities(nn.Module):
    """A network with what prediction does before and after it.

    Parameters
    ----------
    network : Network
        Stays as it is; what is exported is a copy of its `for_prediction`, in evaluation mode.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = copy.deepcopy(network.for_prediction()).eval()
        self.context: Context = self.network.context
        self.sides = sides_of(self.context)
        self.lost = self.context.lost
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Return the probabilities of all classes.

        Parameters
        ----------
        image : Tensor of float32, shape (N, C, H, W)
            Grey values in [0, 1]; H and W as `sides` says.

        Returns
        -------
        Tensor of float32, shape (N, K, H - 2 * lost, W - 2 * lost)
            Softmax over the classes; of one score its sigmoid.
        """
        image = image - self.network.centre if self.network.centre else image
        scores: Tensor = self.network(image)
        if self.network.sigmoid:
            return torch.sigmoid(scores)
        return torch.softmax(scores, dim=1)


class SameSize(Probabilities):
    """The same for consumers that cut tiles of one size in and out: mirrored inside (Fig. 2).

    A network without padding gets what it loses from the mirrored image, as prediction does; one
    with zero padding is as it is. Tiles that start on the lattice and drop `halo` pixels on each
    side give what one pass over the whole image gives.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        lattice = self.context.lattice
        self.sides = self.sides if self.context.padded else Sides(lattice, 0, 2 * lattice)
        self.lost = 0
        self.before, self.after = 0, 0
        if not self.context.padded:  # so that a multiple of the lattice becomes a legal side
            surplus = self.context.base - self.context.before - self.context.after
            self.before = self.context.before
            self.after = self.context.after + surplus % lattice

    @property
    def halo(self) -> int:
        """Pixels that a tile has to drop on each side, a multiple of the lattice."""
        widest = max(self.context.before, self.context.after)
        return -(-widest // self.context.lattice) * self.context.lattice

    @property
    def tile_sides(self) -> Sides:
        """The sides of tiles from which something is left when the halo is dropped."""
        return Sides(self.sides.step, self.sides.base, 2 * self.halo + self.sides.step)

    def forward(self, image: Tensor) -> Tensor:
        """Return the probabilities, (N, K, H, W), of an image (N, C, H, W) in [0, 1]."""
        height, width = image.shape[ROWS], image.shape[COLUMNS]
        if not self.context.padded:
            image = image.index_select(ROWS, self._mirrored(height, image))
            image = image.index_select(COLUMNS, self._mirrored(width, image))
        found = super().forward(image)
        skip = self.before - self.context.lost
        return found[:, :, skip : skip + height, skip : skip + width]

    def _mirrored(self, side: int, image: Tensor) -> Tensor:
        """Return `paper_unet.geometry.mirror_indices` as tensors, for sides that are symbols."""
        last = torch.arange(side, device=image.device)[-1:]
        where = torch.arange(-self.before, side + self.after, device=image.device)
        phase = torch.remainder(where, 2 * last)
        return torch.minimum(phase, 2 * last - phase)


def example(graph: Probabilities) -> Tensor:
    """Return an image that the graph takes: (1, C, H, W), smooth and not the same anywhere."""
    channels = graph.network.config.in_channels
    rows, columns = (graph.sides.above(steps) for steps in EXAMPLE)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, channels, 9, 9), generator=generator)
    smooth = nn.functional.interpolate(coarse, (rows, columns), mode="bicubic", align_corners=True)
    return smooth.clamp(0, 1)


def program(graph: Probabilities, *, checked: bool) -> ExportedProgram:
    """Return a graph as `torch.export` has it, for any batch and all legal sides.

    Parameters
    ----------
    graph : Probabilities
    checked : bool
        Whether it refuses other sides itself when it runs; torch.export, which takes the form of
        the sides for granted, does not.

    Returns
    -------
    ExportedProgram
        Without the names of the files that it was made from.
    """
    module: nn.Module = Checked(graph) if checked else graph
    dynamic: dict[int, Any] = {0: Dim("batch", min=1)}
    for axis, name in ((ROWS, "rows"), (COLUMNS, "columns")):
        least = (graph.sides.smallest - graph.sides.base) // graph.sides.step
        dynamic[axis] = graph.sides.step * Dim(name, min=least) + graph.sides.base
    image = example(graph).expand(2, -1, -1, -1).contiguous()  # a batch of 1 would stay 1
    with torch.no_grad():
        made = torch.export.export(module, (image,), dynamic_shapes=({**dynamic},))
    for part in made.graph_module.modules():
        for node in getattr(getattr(part, "graph", None), "nodes", ()):
            for key in ("stack_trace", "source_fn_stack"):
                node.meta.pop(key, None)
    return made


class Checked(nn.Module):
    """A graph that refuses sides that do not fit, wherever it runs."""

    def __init__(self, graph: Probabilities) -> None:
        super().__init__()
        self.of = graph
        self.said = f"the sides of the image must be {graph.sides}"

    def forward(self, image: Tensor) -> Tensor:
        """Return what the graph gives."""
        sides = self.of.sides
        for axis in (ROWS, COLUMNS):
            # counted, since of the symbol itself torch.export knows that it fits
            side = torch.arange(image.shape[axis], device=image.device)[-1:] + 1
            fits = (torch.remainder(side - sides.base, sides.step) == 0) & (side >= sides.smallest)
            torch._assert_async(fits.all(), self.said)
        return self.of(image)  # type: ignore[no-any-return]
