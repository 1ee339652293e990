r"""Fig. 4: cells found in a PhC-C2DH-U373 and a DIC-C2DH-HeLa frame, over the manual truth.

python experiments/fig4_cells.py --data data [--weights-from runs/table2_cell_tracking] [--quick]

(a) part of a phase contrast frame, (b) the cells found there; (c) a DIC frame, (d) the cells found
there; the truth in outlines. A cell has one colour in truth and result, touching cells differ, and
what matches no cell of the truth is white or grey (the paper: cyan, random colours, truth yellow).
The networks are those that table2_cell_tracking.py left with the same options; each saw only the
other sequence, and its map is read as the frames held out of that say. Where there are none, short
ones are trained here, and the figure says so. The frame is the one with most cells of those
annotated in full, whatever its score.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any

import cell_readings
import cell_splits
import cells
import common
import entry
import numpy as np
import recipes
import records
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from paper_unet.datasets import CellFrames, data_set
from paper_unet.figures.cell_colours import Colour, matched_colours, paint
from paper_unet.figures.style import figure, scale_bar
from paper_unet.networks.base import Network
from paper_unet.networks.weights_file import load_model
from paper_unet.system.device import pick_device
from paper_unet.training.checkpoint import WEIGHTS

PHC, DIC = cells.SETS
PART = 400
"""Side in pixels of the part of a phase contrast frame that is shown."""
TITLE = 66
"""Characters of a line above a half of the figure."""


@dataclass(frozen=True)
class Shown:
    """A network, how its maps are read, and what the figure says of it."""

    model: Network
    reading: cell_readings.Reading
    trained_on: str
    steps: int
    recipe: str
    weights: str
    trained_here: bool


@dataclass(frozen=True)
class Result:
    """One frame: grey values, truth and cells found, each (Y, X), and where they are from."""

    sequences: cells.Sequences
    network: Shown
    sequence: str
    frame: int
    image: NDArray[np.uint8]
    truth: NDArray[np.int32]
    found: NDArray[np.int32]
    scores: dict[str, Any]

    def row(self) -> dict[str, Any]:
        """Return it without the images."""
        return {
            "set": self.sequences.name,
            "source": self.sequences.source,
            "sequence": self.sequence,
            "frame": self.frame,
            "trained_on": self.network.trained_on,
            "width": self.network.model.config.width,
            **asdict(self.network.reading),
            "steps": self.network.steps,
            "weights": self.network.weights,
            "trained_here": self.network.trained_here,
            "found": int(self.found.max()),
            **self.scores,
        }

    def title(self) -> str:
        """Return what the figure says of the data and the network."""
        short = "a SHORT TRAINING for this figure: " if self.network.trained_here else ""
        width = self.network.model.config.width
        return "\n".join(
            [
                f"{cells.shown(self.sequences)}, sequence {self.sequence}, frame {self.frame}",
                *wrap(f"{short}{self.network.recipe}; width {width}", TITLE),
                f"{self.network.steps} steps on sequence {self.network.trained_on}; "
                f"SEG of this frame {self.scores['seg']:.3f}",
            ]
        )


def network(options: argparse.Namespace, sequences: cells.Sequences) -> Shown:
    """Load what table 2 left for these data, or train a short one."""
    stages = partial(cells.stages_of, options, sequences, seed=options.seed)
    recipe = recipes.recipe(cells.options_of(options, sequences.name))
    splits = cell_splits.splits(sequences, ("across",), options.neck)
    for split in splits:
        last = stages(split=split.name)[-1]
        run = options.weights_from / Path(last.out).name
        if (found := trained(run / WEIGHTS, sequences, options.device)) is not None:
            reading = cell_readings.chosen_reading(found, split, last.gap)
            steps = steps_of(found, run)
            return Shown(found, reading, split.name, steps, recipe, str(run), False)
    split = splits[0]
    configs = stages(split=split.name)
    steps = sum(config.steps for config in configs)
    print(f"no network for {sequences.name}, {steps} steps of training instead", flush=True)
    model, _ = recipes.train_stages(configs, partial(cells.cell_training_set, split.learned))
    reading = cell_readings.chosen_reading(model, split, configs[-1].gap)
    return Shown(model, reading, split.name, steps, recipe, configs[-1].out, True)


def steps_of(model: Network, run: Path) -> int:
    """Return the steps of a run's network, with those of the run beside it that it went on from."""
    record: dict[str, Any] = model.record
    start = record["config"].get("start")
    before = 0
    if start:
        first = run.parent / Path(start).parent.name
        before = steps_of(load_model(first / WEIGHTS), first)
    return int(record["steps"]) + before


def trained(weights: Path, sequences: cells.Sequences, device: str) -> Network | None:
    """Load a finished network of table 2, if it was trained on these data."""
    if sequences.source == "synthetic" or not weights.exists():
        return None
    model = load_model(weights, pick_device(device))
    record: dict[str, Any] = model.record
    scaled = record.get("config", {}).get("value_range")
    if scaled != list(cells.VALUE_RANGES[sequences.name]):
        print(f"{weights}: not trained on the real {sequences.name}, left aside")
        return None
    return model


def best_annotated(frames: CellFrames) -> CellFrames:
    """Return the one frame with most cells, of those with the fewest pixels to be ignored."""
    ignored = frames.ignore.sum((1, 2))
    counts = [len(np.unique(instances)) for instances in frames.instances]
    k = max(range(len(counts)), key=lambda k: (-int(ignored[k]), counts[k], -k))
    one = slice(k, k + 1)
    return CellFrames(
        frames.frames[one], frames.images[one], frames.instances[one], frames.ignore[one]
    )


def predict(sequences: cells.Sequences, network: Shown) -> Result:
    """Find and score the cells of one frame of the sequence that the network has not seen."""
    (sequence,) = (name for name in cells.SEQUENCES if name != network.trained_on)
    one = best_annotated(sequences.frames[sequence])
    found = network.reading(cells.predicted_maps(network.model, one))
    return Result(
        sequences,
        network,
        sequence,
        one.frames[0],
        one.images[0],
        one.instances[0],
        found[0],
        cells.score(one, found),
    )


def fullest(truth: NDArray[np.int32], side: int) -> tuple[slice, slice]:
    """Return the square window of a frame that holds most pixels of cells."""
    rows, columns = (min(side, length) for length in truth.shape)
    total = np.pad((truth > 0).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    held = (
        total[rows:, columns:]
        - total[:-rows, columns:]
        - total[rows:, :-columns]
        + total[:-rows, :-columns]
    )
    y, x = np.unravel_index(int(held.argmax()), held.shape)
    return slice(int(y), int(y) + rows), slice(int(x), int(x) + columns)


def draw(results: list[Result]) -> Figure:
    """Draw input and result of both sets."""
    phc, dic = results
    lines = max(result.title().count("\n") + 1 for result in results)
    with figure("page", 2.1 + 0.125 * lines) as page:
        page.set_layout_engine("constrained", h_pad=0.07)  # between the two titles
        left, right = page.subfigures(1, 2)  # type: ignore[misc]
        draw_pair(left, phc, "ab", fullest(phc.truth, PART))
        draw_pair(right, dic, "cd", (slice(None), slice(None)))
        for half, result in ((left, phc), (right, dic)):
            title = result.title()
            half.suptitle(title + "\n" * (lines - 1 - title.count("\n")))  # panels at one height
    return page


def draw_pair(figure: SubFigure, result: Result, letters: str, window: tuple[slice, slice]) -> None:
    """Draw a window of the input, and beside it the cells found and the outlines of the truth."""
    image = result.image[window]
    low, high = (float(value) for value in np.percentile(image, (0.5, 99.5)))
    grey = np.clip((image - low) / max(high - low, 1), 0, 1)
    whole = "part of the input" if image.shape != result.image.shape else "input"
    titles = whole, "filled: found; outline: truth\nwhite, grey: no true cell"
    of_truth, of_found = matched_colours(result.truth, result.found)
    over = paint(result.found[window], of_found, grey, alpha=0.45)
    panels = figure.subplots(1, 2)
    for axes, letter, title, panel in zip(panels, letters, titles, (grey, over), strict=True):
        axes.imshow(panel, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"({letter}) {title}")
        axes.set_axis_off()
    outline(panels[1], result.truth[window], of_truth)
    pixel_size = data_set(result.sequences.name).pixel_size
    if result.sequences.source != "synthetic" and pixel_size is not None:
        scale_bar(panels[0], pixel_size)


def outline(axes: Axes, truth: NDArray[np.int32], colours: Mapping[int, Colour]) -> None:
    """Draw the outline of each cell of the truth, between its pixels and those around."""
    framed = np.pad(truth, 1)
    y, x = (np.arange(-1, length + 1) for length in truth.shape)
    for label in np.unique(truth[truth > 0]):
        look: dict[str, Any] = {"colors": [colours[int(label)]], "linewidths": 0.9}
        axes.contour(x, y, framed == label, levels=[0.5], **look)
    axes.set_xlim(-0.5, truth.shape[1] - 0.5)
    axes.set_ylim(truth.shape[0] - 0.5, -0.5)


def main() -> None:
    """Load or train, predict, draw."""
    parser = common.parser("fig4_cells", __doc__)
    recipes.add_recipe_options(parser)
    cells.add_set_options(parser)
    recipes.add_training_options(parser, width=16, steps=300, tile=380)
    parser.add_argument(
        "--weights-from",
        type=Path,
        help="the --work folder of table2_cell_tracking.py; default: the one beside this --work",
    )
    options = recipes.parsed(parser, width=4, steps=10, tile=252)
    options.weights_from = options.weights_from or options.work.parent / "table2_cell_tracking"
    started = time.time()
    with records.recorded(options):
        common.be_one_of_several()
        results = []
        for name in cells.SETS:
            sequences = cells.load(options.data, name, options.quick)
            results.append(predict(sequences, network(options, sequences)))
            print(results[-1].row(), flush=True)
        source = " and ".join(dict.fromkeys(result.sequences.source for result in results))
        rows = [result.row() for result in results]
        records.write_results(options.out, {"source": source, "rows": rows}, started)
        records.save_figure(draw(results), options.out, "fig4_cells")


if __name__ == "__main__":
    entry.run(main)
