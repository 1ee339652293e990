"""Fig. 3: a DIC-HeLa frame, its cells, the mask with the drawn gaps, and the weight map.

python experiments/fig3_weight_map.py --data data [--frame 02/038]

The gaps and weights are those that training uses: w_c balances the classes over all annotated
frames of the sequence; pixels that may belong to a cell without annotation weigh 0, but for the
border of the frame: training gives it no weight where no mask is, the figure shows it. The default
frame is annotated in full, and has the longest borders between touching cells of those that are.
"""

from __future__ import annotations

import argparse
import time

import common
import entry
import numpy as np
import records
from skimage.segmentation import expand_labels

from paper_unet.datasets import DIC_C2DH_HELA
from paper_unet.datasets.cell_tracking import CellFrames, load_cell_frames
from paper_unet.errors import InputError
from paper_unet.figures.weight_map import WeightedFrame, weight_map_figure, weighted_frame
from paper_unet.synthetic import synthetic_stack
from paper_unet.weight_map import class_weights, separate_touching

NAME = "DIC-C2DH-HeLa"


def made_up(side: int, seed: int) -> CellFrames:
    """Return one frame of touching cells: some bodies of made-up tissue, grown over membranes."""
    tissue = synthetic_stack(sections=1, side=side, seed=seed)
    bodies = tissue.instances[0]
    numbers = np.unique(bodies)[1:]
    kept = np.random.default_rng(seed).choice(numbers, -(-2 * len(numbers) // 3), replace=False)
    grown = expand_labels(np.where(np.isin(bodies, kept), bodies, 0), 4)  # type: ignore[no-untyped-call]
    nowhere = np.zeros((1, side, side), np.bool_)
    return CellFrames((0,), tissue.images, grown[None].astype(np.int32), nowhere)


def read(options: argparse.Namespace) -> tuple[CellFrames, int, str]:
    """Return the frames of a sequence, which one to draw, and where they are from."""
    folder = options.data / NAME
    if not folder.is_dir():
        common.note(f"no {NAME} in {options.data}: synthetic cells instead")
        return made_up(128 if options.quick else 512, options.seed), 0, "synthetic"
    sequence, _, number = options.frame.partition("/")
    frames = load_cell_frames(folder, sequence)
    if not number.isdecimal() or int(number) not in frames.frames:
        known = ", ".join(f"{frame:03}" for frame in frames.frames)
        raise InputError(f"--frame is {options.frame}; frames of {sequence} with cells are {known}")
    return frames, frames.frames.index(int(number)), NAME


def weigh(frames: CellFrames, index: int) -> WeightedFrame:
    """Weigh one frame with the class balance of all of them."""
    classes = (separate_touching(frames.instances) != 0).astype(np.uint8)
    background, cell = class_weights(classes, frames.unknown)
    return weighted_frame(
        frames.images[index],
        frames.instances[index],
        frames.ignore[index],
        balance=(float(background), float(cell)),
    )


def main() -> None:
    """Weigh, draw, write."""
    parser = common.parser("fig3_weight_map", __doc__)
    parser.add_argument("--frame", default="02/038", help="sequence and frame")
    options = parser.parse_args()
    started = time.time()
    with records.recorded(options):
        frames, index, source = read(options)
        frame = weigh(frames, index)
        made = source == "synthetic"
        results = {
            "source": source,
            "frame": None if made else options.frame,
            "frames_for_w_c": len(frames.frames),
            "w0": 10.0,
            "sigma": 5.0,
            **frame.to_dict(),
        }
        print(results)
        records.write_results(options.out, results, started)
        title = "SYNTHETIC cells" if made else f"{NAME}, frame {options.frame}"
        drawn = weight_map_figure(frame, title, None if made else DIC_C2DH_HELA.pixel_size)
        records.save_figure(drawn, options.out, "fig3_weight_map")


if __name__ == "__main__":
    entry.run(main)
