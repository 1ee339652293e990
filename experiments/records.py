"""What an experiment leaves: its settings, environment, log, metrics and figures."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from io import BytesIO, TextIOBase
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from row_files import FOLDER

from paper_unet.figures.style import DPI, picture
from paper_unet.system.environment import environment
from paper_unet.system.files import check_free_name, make_folder, write_atomic


@contextmanager
def recorded(options: argparse.Namespace) -> Iterator[None]:
    """Keep what is printed meanwhile in log.txt, beside config.json and environment.json.

    They are written when the first line is: a script that cannot use its options or its data says
    so before, and leaves what lies there. Where only what is missing is listed, nothing is written.
    """
    if getattr(options, "minutes", None) == 0:
        yield
        return
    with closing(_Log(options)) as log, redirect_stdout(_Tee(log, sys.stdout)):
        yield


class _Log(TextIOBase):
    """The log of a script, which begins with its settings and environment beside it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._file: TextIO | None = None

    def write(self, text: str) -> int:
        if self._file is None:
            self._file = self._begun()
        return self._file.write(text)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        super().close()  # flushes
        if self._file is not None:
            self._file.close()

    def _begun(self) -> TextIO:
        out: Path = self._options.out
        make_folder(out)
        settings = {name: _plain(value) for name, value in sorted(vars(self._options).items())}
        _write_json(out / "config.json", {"command": _command(), **settings})
        _write_json(out / "environment.json", environment())
        check_free_name(out / "log.txt", overwrite=True, folders=False)  # no link is followed
        rows = (out / FOLDER).is_dir()
        before = (out / "log.txt").read_text() if rows and (out / "log.txt").is_file() else ""
        log = (out / "log.txt").open("w")
        log.write(before)
        return log


class _Tee(TextIOBase):
    """Writes everything twice."""

    def __init__(self, *streams: TextIO | _Log) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
            stream.flush()
        return len(text)


GREYS = 16
"""Levels of grey in a PNG of images; the PDF has all."""


def save_figure(figure: Figure, out: Path, name: str) -> None:
    """Save a figure as PNG and PDF; the same figure is the same file."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / f"{name}.png", compact_png(picture(figure, "png")))
    write_atomic(out / f"{name}.pdf", picture(figure, "pdf"))
    print(f"wrote {_plain(out / name)}.png and .pdf")


def compact_png(png: bytes) -> bytes:
    """Return a PNG with a palette: every colour if they are 256; else levels of grey, and colours.

    Noise in images is most of a figure's bytes; of greys it keeps `GREYS` levels.
    """
    with Image.open(BytesIO(png)) as image:
        colours = image.convert("RGB")
    if colours.getcolors(256):
        return _png(colours.quantize(256, dither=Image.Dither.NONE))
    pixels = np.asarray(colours, np.int64)
    grey = np.ptp(pixels, axis=2) <= 255 // GREYS
    numbers = np.rint(pixels.mean(2) * (GREYS - 1) / 255).astype(np.uint8)
    palette = np.repeat(np.rint(np.linspace(0, 255, GREYS))[:, None], 3, axis=1)
    if not grey.all():
        rounded = np.rint(pixels[~grey] / 17) * 17  # 16 levels of each colour
        line = Image.fromarray(rounded[None].astype(np.uint8))
        found = line.quantize(256 - GREYS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        numbers[~grey] = np.asarray(found)[0] + GREYS
        palette = np.concatenate([palette, np.reshape(found.getpalette() or [], (-1, 3))])
    reduced = Image.fromarray(numbers)
    reduced.putpalette(palette.astype(np.uint8).ravel().tolist())
    return _png(reduced)


def _png(image: Image.Image) -> bytes:
    encoded = BytesIO()
    image.save(encoded, "png", optimize=True, dpi=(DPI, DPI))
    return encoded.getvalue()


def write_results(out: Path, results: dict[str, Any], started: float) -> None:
    """Write metrics.json with the command, the wall time and the environment."""
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "command": _command(),
        **results,
        "wall_seconds": round(time.time() - started, 1),
        "environment": environment(),
    }
    _write_json(out / "metrics.json", document)
    print(f"wrote {_plain(out / 'metrics.json')}")


def _command() -> str:
    """Return how the script was called, but for the time that it was given.

    Paths below the current folder are relative to it.
    """
    words = iter(sys.argv[1:])
    kept = []
    for word in words:
        if word == "--minutes":
            next(words, None)
        elif not word.startswith("--minutes="):
            kept.append(str(_plain(Path(word))) if Path(word).is_absolute() else word)
    script = Path(sys.argv[0])
    if script.parent.name.startswith("_"):  # in the package, which has no folder of experiments
        return shlex.join(["paper-unet", "reproduce", script.stem, *kept])
    return shlex.join(["python", f"experiments/{script.name}", *kept])


def _plain(value: Any) -> Any:
    """Return a setting as JSON has it; a path below the current folder is relative to it."""
    if not isinstance(value, Path):
        return value
    here = Path.cwd()
    return str(value.relative_to(here)) if value.is_relative_to(here) else str(value)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    write_atomic(path, (json.dumps(document, indent=2) + "\n").encode())
