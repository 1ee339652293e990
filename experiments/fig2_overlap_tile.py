r"""Fig. 2: overlapping tiles, the mirrored context, and what the paper's abutting tiles change.

python experiments/fig2_overlap_tile.py --data data [--tile 380] [--section 27] [--image FILE]

A section of ISBI 2012 that the bundled weights have not seen goes through the network in one pass,
in exact tiles, and in abutting tiles of the paper's size (572, outputs of 388) and of --tile. The
difference of the log odds is given in standard deviations of the log odds over the section.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import common
import entry
import numpy as np
import records
from numpy.typing import NDArray

from paper_unet.datasets import ISBI2012
from paper_unet.errors import InputError
from paper_unet.figures.overlap_tile import TiledSection, overlap_tile_figure
from paper_unet.figures.tilings import difference, log_odds
from paper_unet.geometry import PAPER_TILE, Tiling
from paper_unet.images import open_stack, read_stack, to_unit_range
from paper_unet.inference.averaging import image_scores
from paper_unet.inference.layers import exact_arithmetic
from paper_unet.inference.predict import engine_for
from paper_unet.inference.settings import Engine, InferenceSettings
from paper_unet.networks.base import Network
from paper_unet.synthetic import PIXEL_SIZE


def read(options: argparse.Namespace) -> tuple[NDArray[np.generic], str]:
    """Return the section and where it is from."""
    if options.image is not None:
        images, source = read_stack(options.image), options.image.name
    else:
        sections = common.isbi2012(options.data, options.quick)
        images, source = sections.images, sections.source
    if not 0 <= options.section < len(images):
        raise InputError(f"--section is {options.section}; {source} has 0 to {len(images) - 1}")
    return images[options.section], source


def pixel_size(options: argparse.Namespace, source: str) -> float | None:
    """Return the width of a pixel in micrometres; None where the file does not say it."""
    if options.image is not None:
        with open_stack(options.image) as stack:
            return stack.pixel_size[2]
    return PIXEL_SIZE if source == "synthetic" else ISBI2012.pixel_size


def computed(
    model: Network, image: NDArray[np.generic], engine: Engine, tile: int, tiling: Tiling
) -> NDArray[np.float32]:
    """Return the log odds of a cell, shape (Y, X)."""
    grey = to_unit_range(image[None], model.grey_ranges.get(image.dtype.name))
    settings = InferenceSettings(engine=engine, tile=tile, tiling=tiling)
    with exact_arithmetic():
        return log_odds(image_scores(engine_for(model, settings), grey))


def compare(
    model: Network, image: NDArray[np.generic], tile: int
) -> tuple[TiledSection, list[dict[str, Any]]]:
    """Cut the section in every way; return what is to be drawn, and a row for each way."""
    one_pass = computed(model, image, "stream", PAPER_TILE, "exact")
    found, maps = {}, {}
    for tiling in ("exact", "abutting"):
        for side in dict.fromkeys((PAPER_TILE, tile)):
            maps[tiling, side] = computed(model, image, "tiles", side, tiling)
            found[tiling, side] = difference(one_pass, maps[tiling, side], side, tiling)
            print(found[tiling, side].to_dict())
    abutting = [found["abutting", PAPER_TILE], found["abutting", tile]]
    section = TiledSection(image, tile, one_pass, maps["exact", tile], abutting)
    return section, [each.to_dict() for each in found.values()]


def main() -> None:
    """Compute, draw, write."""
    parser = common.parser("fig2_overlap_tile", __doc__)
    parser.add_argument("--tile", type=int, default=380, help="side of the input, 16k + 60")
    parser.add_argument("--image", type=Path, help="image or stack instead of ISBI 2012")
    parser.add_argument("--section", type=int, default=27)
    parser.add_argument("--weights", type=Path, help="default: the bundled ones")
    options = common.parsed(parser, tile=252)
    started = time.time()
    with records.recorded(options):
        image, source = read(options)
        model = common.grey_network(options.weights, options.device)
        abutting = InferenceSettings(engine="tiles", tile=options.tile, tiling="abutting")
        engine_for(model, abutting)  # refuses what it cannot cut
        section, rows = compare(model, image, options.tile)
        results = {
            "source": source,
            "section": options.section,
            "shape": list(image.shape),
            "width": model.config.width,
            "tilings": rows,
        }
        records.write_results(options.out, results, started)
        shown = "SYNTHETIC tissue" if source == "synthetic" else source
        title = f"{shown}, section {options.section}; network of width {model.config.width}"
        drawn = overlap_tile_figure(section, title, pixel_size(options, source))
        records.save_figure(drawn, options.out, "fig2_overlap_tile")


if __name__ == "__main__":
    entry.run(main)
