"""The picture of README.md: what ``paper-unet demo`` draws, as a small PNG.

python experiments/demo_picture.py [--out docs/images/demo.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import entry
import records

from paper_unet.demo import run_demo
from paper_unet.system.files import write_atomic


def main() -> None:
    """Run the demo and keep its picture."""
    options = argparse.ArgumentParser(description=__doc__)
    shown = Path(__file__).parents[1] / "docs" / "images" / "demo.png"
    options.add_argument("--out", type=Path, default=shown)
    out = options.parse_args().out
    with TemporaryDirectory() as folder:
        picture = run_demo(Path(folder)).files[-1].read_bytes()
    write_atomic(out, records.compact_png(picture))


if __name__ == "__main__":
    entry.run(main)
