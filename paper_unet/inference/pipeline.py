"""Row streaming: a section flows through the network in bands of rows, and nothing is recomputed.

The network is a chain of local operations, so none of them needs the whole section. Each 3x3
convolution keeps the last two rows of its input, each pool an odd row, each skip connection the
rows that its up-sampled partner has not reached yet::

    input rows   ...===========|  band  |
    level 0       conv conv ---+--> rows that wait for the decoder (92 deep) ---> up conv conv -->
                       pool    |                                                   ^
    level 1            conv conv --> rows that wait (42 deep) ---------> up conv conv
                            ...                                           ...

The rows that come out are those of one pass over the whole section (sec. 2); the memory grows with
its width alone. The overlap-tile strategy (Fig. 2) computes every halo again for each tile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from paper_unet.geometry import DEPTH, input_size, output_size, skip_crop
from paper_unet.inference.layers import Convolution, Layers, UpConvolution
from paper_unet.inference.replay import Recorder, Replay
from paper_unet.networks.moves import copy_into, copy_pixels, joined, pooled

Push = Callable[[Tensor], Tensor | None]
"""Lets the next input rows of a strip in, (C, n, columns); gives the scores that this completes."""


def stream_rows(
    push: Push, images: Iterable[Tensor], height: int, columns: int
) -> Iterator[Tensor]:
    """Yield the scores of a strip from top to bottom.

    Parameters
    ----------
    push : callable
        `Pipeline.push` of a new pipeline, or the like.
    images : iterable of Tensor, shape (C, n, columns + 184 or a little more)
        The input rows in bands, in order, row 0 being 92 above the first output row. The result
        does not depend on how many come at once, but for rounding; the memory and the speed do.
    height : int
        Output rows wanted, pixels, at least 1.
    columns : int
        Output columns wanted, pixels, at least 1.

    Yields
    ------
    Tensor of float32, shape (K, n, columns)
        The next n rows, on the device of the network.
    """
    missing = height
    for image in images:
        scores = push(image)
        if scores is not None:
            yield scores[:, :missing, :columns]
            missing -= min(missing, scores.shape[1])
        if not missing:
            return


def bands(height: int, band: int) -> Iterator[tuple[int, int]]:
    """Yield the input rows that make so many output rows, band by band; (0, n), (n, 2n), ..."""
    end = input_size(height)
    for start in range(0, end, band):
        yield start, min(start + band, end)
        if rows_out(min(start + band, end)) >= height:
            return


def rows_out(rows: int) -> int:
    """Return how many output rows the first ``rows`` input rows complete."""
    for _ in range(DEPTH):
        rows = (rows - 4) // 2
    rows -= 4
    for _ in range(DEPTH):
        rows = 2 * rows - 4
    return max(rows, 0)


class Pipeline:
    """The network of Fig. 1 with the rows that are on their way through it.

    Parameters
    ----------
    layers : Layers
    width : int
        Input columns, pixels, 16k + 60.
    """

    def __init__(self, layers: Layers, width: int) -> None:
        output_size(width)
        self.layers = layers
        self.down = [Contracting(*pair) for pair in layers.down]
        self.pool = [Pool() for _ in range(DEPTH)]
        self.up = [
            Expanding(layers.upconv[level], *layers.up[level], skip_crop(level))
            for level in range(DEPTH)
        ]

    def push(self, image: Tensor) -> Tensor | None:
        """Let the next input rows in, (C, n, width); return the scores that this completes."""
        image = image - self.layers.centre if self.layers.centre else image
        maps: Tensor | None = image[None].to(
            self.layers.device, self.layers.dtype, memory_format=torch.channels_last
        )
        for level in range(DEPTH):
            maps = self.down[level](maps)
            self.up[level].wait(maps)
            maps = self.pool[level](maps)
        maps = self.down[DEPTH](maps)
        for level in reversed(range(DEPTH)):
            maps = self.up[level](maps)
        return None if maps is None else self.layers.head(maps)

    def shapes(self) -> tuple[int, ...]:
        """Return how many rows are on their way in each place; what `push` does depends on that."""
        kept = [valid.kept[0].shape[2] if valid.kept else 0 for valid in self._valids()]
        odd = [pool.odd is not None for pool in self.pool]
        waiting = [sum(rows.shape[2] for rows in stage.waiting) for stage in self.up]
        return (*kept, *odd, *waiting, *(stage.drop for stage in self.up))

    def state(self) -> list[Tensor]:
        """Return all rows that are on their way, in an order that `take_up` knows."""
        tensors: list[Tensor] = []
        for valid in self._valids():
            tensors += valid.kept or [self._none() for _ in valid.convolution.groups]
        tensors += [self._none() if pool.odd is None else pool.odd for pool in self.pool]
        for stage in self.up:
            tensors.append(joined(list(stage.waiting)) if stage.waiting else self._none())
            tensors.append(self._none(stage.drop))
        return tensors

    def take_up(self, tensors: list[Tensor]) -> None:
        """Take what `state` gave."""
        coming = iter(tensors)
        for valid in self._valids():
            kept = [next(coming) for _ in valid.convolution.groups]
            valid.kept = kept if kept[0].numel() else []
        for pool in self.pool:
            odd = next(coming)
            pool.odd = odd if odd.numel() else None
        for stage in self.up:
            waiting, drop = next(coming), next(coming)
            stage.waiting = deque([waiting] if waiting.numel() else [])
            stage.drop = drop.shape[0]

    def _valids(self) -> Iterator[Valid]:
        stages: list[Contracting | Expanding] = [*self.down, *self.up]
        for stage in stages:
            yield from (stage.first, stage.second)

    def _none(self, count: int = 0) -> Tensor:
        return torch.empty((count, 0), device=self.layers.device)


class Recorded:
    """A network through which strips stream; where there is a recorder, bands are replayed.

    Every band is a function of its rows and of those that are on their way. Where many bands have
    the same shapes, as in the steady state, a GPU does not wait for this program.

    Parameters
    ----------
    layers : Layers
    recorder : callable or None
        See `paper_unet.inference.replay`.
    """

    def __init__(self, layers: Layers, recorder: Recorder | None) -> None:
        self.layers = layers
        self._replay = Replay(partial(_band, layers), recorder)

    def strip(self, width: int) -> Push:
        """Return what lets the rows of a new strip in, input columns wide."""
        pipeline = Pipeline(self.layers, width)

        def push(image: Tensor) -> Tensor | None:
            shapes = (tuple(image.shape), pipeline.shapes())
            found = self._replay(shapes, lambda: [image, *pipeline.state()])
            if found is None:
                return pipeline.push(image)
            pipeline.take_up(found[1:])
            return found[0].clone() if found[0].numel() else None

        return push if self._replay.records else pipeline.push


def _band(layers: Layers, tensors: list[Tensor]) -> list[Tensor]:
    """`Pipeline.push` as a function of the rows that come and of those on their way."""
    image, *state = tensors
    pipeline = Pipeline(layers, image.shape[2])
    pipeline.take_up(state)
    scores = pipeline.push(image)
    return [image.new_empty(0) if scores is None else scores, *pipeline.state()]


class Valid:
    """One 3x3 convolution with ReLU over a growing map: n new rows in, n new rows out."""

    def __init__(self, convolution: Convolution) -> None:
        self.convolution = convolution
        self.kept: list[Tensor] = []  # the last two rows of the input, by groups of channels

    def __call__(self, maps: Tensor) -> Tensor | None:
        """Take new rows; return those that they complete."""
        parts = [maps[:, group] for group in self.convolution.groups]
        if self.kept:
            pairs = zip(self.kept, parts, strict=True)
            return self.over([joined(pair) for pair in pairs])
        return self.over([part.contiguous(memory_format=torch.channels_last) for part in parts])

    def over(self, rows: list[Tensor]) -> Tensor | None:
        """Convolve rows that begin with the kept ones."""
        self.kept = [_last_rows(part, 2) for part in rows]
        return self.convolution(rows) if rows[0].shape[2] > 2 else None


def _last_rows(maps: Tensor, count: int) -> Tensor:
    """Copy the last rows, so that they do not hold the whole band in memory."""
    rows = maps[:, :, max(maps.shape[2] - count, 0) :]
    return rows.clone(memory_format=torch.channels_last)


class Contracting:
    """The two convolutions of a level of the contracting path."""

    def __init__(self, first: Convolution, second: Convolution) -> None:
        self.first, self.second = Valid(first), Valid(second)

    def __call__(self, maps: Tensor | None) -> Tensor | None:
        """Take new rows, if there are any; return those that they complete."""
        maps = None if maps is None else self.first(maps)
        return None if maps is None else self.second(maps)


class Pool:
    """The 2x2 max-pool; a row whose partner is not there yet waits."""

    def __init__(self) -> None:
        self.odd: Tensor | None = None

    def __call__(self, maps: Tensor | None) -> Tensor | None:
        """Take new rows, if there are any; return those that they complete."""
        if maps is None:
            return None
        rows = maps if self.odd is None else joined([self.odd, maps])
        even = rows.shape[2] - rows.shape[2] % 2
        self.odd = _last_rows(rows, 1) if rows.shape[2] > even else None
        return pooled(rows[:, :, :even]) if even else None


class Expanding:
    """Up-convolution, copy and crop, and the two convolutions of a level of the expanding path."""

    def __init__(
        self, upconv: UpConvolution, first: Convolution, second: Convolution, crop: int
    ) -> None:
        self.upconv, self.crop = upconv, crop
        self.first, self.second = Valid(first), Valid(second)
        self.waiting: deque[Tensor] = deque()
        self.drop = crop  # rows of the skip connection that the centre crop takes off the top

    def wait(self, maps: Tensor | None) -> None:
        """Take rows of the contracting path; they wait for their up-sampled partners."""
        if maps is None:
            return
        cropped = maps[:, :, min(self.drop, maps.shape[2]) :]
        self.drop -= maps.shape[2] - cropped.shape[2]
        if cropped.shape[2]:
            self.waiting.append(cropped)

    def __call__(self, below: Tensor | None) -> Tensor | None:
        """Take new rows, if there are any; return those that they complete."""
        if below is None:
            return None
        maps = self.first.over(self._merge(below))
        return None if maps is None else self.second(maps)

    def _merge(self, below: Tensor) -> list[Tensor]:
        """Put the up-sampled rows and those that waited for them behind the kept ones."""
        valid, blocks = self.first, self.upconv(below)
        kept = valid.kept[0].shape[2] if valid.kept else 0
        height, width = 2 * below.shape[2], 2 * below.shape[3]
        merged = [
            torch.empty(
                (1, group.stop - group.start, kept + height, width),
                dtype=below.dtype, device=below.device, memory_format=torch.channels_last,
            )
            for group in valid.convolution.groups
        ]  # fmt: skip
        for part, rows in zip(merged, valid.kept, strict=False):
            copy_into(part[:, :, :kept], rows)
        new, channels = [part[:, :, kept:] for part in merged], self.upconv.channels
        for target, these in self._shares(new, 0, channels):
            rows = target[0].permute(1, 2, 0).view(height // 2, 2, width // 2, 2, -1)
            copy_pixels(rows, blocks[..., these].permute(0, 2, 1, 3, 4))
        self._take(list(self._shares(new, channels, valid.convolution.groups[-1].stop)), height)
        return merged

    def _shares(self, parts: list[Tensor], first: int, end: int) -> Iterator[tuple[Tensor, slice]]:
        """Yield where channels [first, end) lie in the groups, and which of them lie there."""
        for part, group in zip(parts, self.first.convolution.groups, strict=True):
            start, stop = max(first, group.start), min(end, group.stop)
            if start < stop:
                place = slice(start - group.start, stop - group.start)
                yield part[:, place], slice(start - first, stop - first)

    def _take(self, shares: list[tuple[Tensor, slice]], height: int) -> None:
        """Move waiting rows, cropped to the centre, into the shares until they are full."""
        filled, columns = 0, slice(self.crop, self.crop + shares[0][0].shape[3])
        while filled < height:
            first = self.waiting.popleft()
            count = min(first.shape[2], height - filled)
            for target, these in shares:
                copy_into(target[:, :, filled : filled + count], first[:, these, :count, columns])
            if count < first.shape[2]:
                self.waiting.appendleft(first[:, :, count:])
            filled += count


def one_pass(layers: Layers, image: Tensor) -> Tensor:
    """Return the scores of one tile, computed at once.

    Parameters
    ----------
    layers : Layers
    image : Tensor of float32, shape (C, H, W)
        H and W are of the form 16k + 60.

    Returns
    -------
    Tensor of float32, shape (K, H - 184, W - 184)
    """
    output_size(image.shape[1])
    scores = Pipeline(layers, image.shape[2]).push(image)
    if scores is None:
        raise RuntimeError("a tile of legal size gave no scores")
    return scores
