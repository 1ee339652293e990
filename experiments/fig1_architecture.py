"""Fig. 1: the U, drawn from the tensors of a forward pass of the network itself.

python experiments/fig1_architecture.py [--tile 572] [--width 64] [--release]

A tile goes through the network on PyTorch's "meta" device: the same code and the same shapes, no
values. Boxes, channels, sizes, layers and multiply-accumulates are counted from what it makes. No
data are needed, and --quick changes nothing.
"""

from __future__ import annotations

import time

import common
import entry
import records
import torch

from paper_unet.figures.architecture import architecture_figure
from paper_unet.figures.trace import Trace, trace
from paper_unet.geometry import PAPER_TILE, output_size
from paper_unet.model import UNet


def table(traced: Trace) -> str:
    """Return the maps as lines of text."""
    lines = [f"{'operation':15} {'level':>5} {'channels':>8} {'side':>5} {'MAC':>15}"]
    for made in traced.maps:
        macs = f"{made.macs:,}" if made.macs else ""
        lines.append(
            f"{made.operation:15} {made.level:5} {made.channels:8} {made.side:5} {macs:>15}"
        )
    return "\n".join(lines)


def main() -> None:
    """Trace, draw, write."""
    parser = common.parser("fig1_architecture", __doc__)
    parser.add_argument("--tile", type=int, default=PAPER_TILE, help="side of the input, 16k + 60")
    parser.add_argument("--width", type=int, default=64, help="channels of the first level")
    parser.add_argument("--release", action="store_true", help="the network released in 2015")
    options = parser.parse_args()
    started = time.time()
    output_size(options.tile)
    with records.recorded(options):
        with torch.device("meta"):
            build = UNet.release if options.release else UNet
            model = build(width=options.width)
        traced = trace(model, options.tile)
        print(table(traced))
        print(
            f"{traced.convolutions} convolutional layers, {traced.parameters:,} parameters, "
            f"{traced.macs:,} multiply-accumulates"
        )
        results = {
            "source": "the network alone, no data",
            "network": "release" if options.release else "paper",
            "tile": options.tile,
            **traced.to_dict(),
        }
        records.write_results(options.out, results, started)
        whose = "the network released in 2015" if options.release else "the network of the paper"
        sizes = f"{options.tile}² → {output_size(options.tile)}²"
        title = f"{whose}, {sizes}" + f", width {options.width}" * (options.width != 64)
        records.save_figure(architecture_figure(traced, title), options.out, "fig1_architecture")


if __name__ == "__main__":
    entry.run(main)
