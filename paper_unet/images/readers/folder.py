"""A folder of sections, each a file of one kind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.choice import WHOLE, Choice
from paper_unet.images.readers import reader_of
from paper_unet.images.readers.orientation import without_orientation
from paper_unet.images.stack import Span, Stack, digest_of
from paper_unet.system.memory import spending

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF",
            ".btf": "TIFF"}  # fmt: skip


class FolderStack(Stack):
    """The images of a folder in natural order, each one section."""

    format = "FolderStack"
    chooses = True

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether it is a folder."""
        return path.is_dir()

    def __init__(
        self,
        path: Path,
        *,
        axes: str | None = None,
        series: int | None = None,
        channels: int = 1,
        labels: bool = False,
        chosen: Choice = WHOLE,
    ) -> None:
        super().__init__(path, channels=channels, labels=labels, chosen=chosen)
        if axes is not None and axes.upper() not in ("ZYX", "YX"):
            raise InputError(f'{path}: axes "{axes}" for a folder of sections; leave `axes` out')
        self._files = _listing(path)
        self._open: tuple[int, Stack] | None = None
        with self._section(self._files[0]) as first:
            self.shape, self.dtype = (len(self._files), *first.shape[1:]), first.dtype
            self.pixel_size = None, *first.pixel_size[1:]
            self.own_range, self.notes = first.own_range, first.notes
            self._noted = bool(without_orientation(first.notes))
            self.taken, self.white_is_zero = first.taken, first.white_is_zero
        for file in self._files:
            with self._section(file) as section:
                self._check_alike(file, section)
                if without_orientation(self.notes) == self.notes:  # the first one says it for all
                    self.notes += section.notes[len(without_orientation(section.notes)) :]
                self.cache_bytes = max(self.cache_bytes, section.cache_bytes)

    def _section(self, file: Path) -> Stack:
        more: dict[str, Any] = {"labels": True} if self.labels else {}
        if self.chosen:
            more["chosen"] = self.chosen
        with spending(self.budget):
            stack = reader_of(file)(file, channels=self.channels, **more)
        if len(stack) != 1:
            stack.close()
            raise InputError(
                f"{file}: holds {len(stack)} sections; in a folder each file is one section: "
                "give this file itself, or split it"
            )
        return stack

    def _check_alike(self, file: Path, section: Stack) -> None:
        noted = bool(without_orientation(section.notes))
        if section.own_range != self.own_range or noted != self._noted:
            raise InputError(
                f"{file}: its grey values have another meaning than those of {self._files[0].name} "
                "(bits, white as zero, or calibration); all sections must be alike: convert them"
            )
        if section.taken != self.taken:
            raise InputError(
                f"{file}: its axes are others than those of {self._files[0].name}, or another "
                "channel has the name that is chosen; all sections must be alike: convert them"
            )
        if (section.shape[1:], section.dtype) != (self.shape[1:], self.dtype):
            raise InputError(
                f"{file}: {section.dtype} of {section.shape[2]} x {section.shape[1]} pixels, and "
                f"{self._files[0].name} is {self.dtype} of {self.shape[2]} x {self.shape[1]}; all "
                "sections must be alike: crop or convert them"
            )

    @property
    def files(self) -> tuple[Path, ...]:
        """The folder, and the sections that are links and so lie elsewhere."""
        return self.path, *(file for file in self._files if file.is_symlink())

    def close(self) -> None:
        """Close the section that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _stamp(self) -> dict[str, Any]:
        return {"files": digest_of(self._files)}

    def _sections(self) -> list[Path]:
        return self._files

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        if self._open is None or self._open[0] != z:
            self.close()
            self._open = z, self._section(self._files[z])
            self._check_alike(self._files[z], self._open[1])  # it may have changed meanwhile
        return self._open[1].window(0, rows, columns)


def natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return a key that puts ``section_2`` before ``section_10``."""
    parts = re.split(r"(\d+)", path.name.lower())
    # the name itself decides between 2 and 02, whatever order the disk lists them in
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _listing(folder: Path) -> list[Path]:
    """Return the sections of a folder, all of one kind; refuse whatever else is there."""
    files = sorted((f for f in folder.iterdir() if not f.name.startswith(".")), key=natural_order)
    names = " or ".join(dict.fromkeys(SUFFIXES.values()))
    if not files:
        raise InputError(f"{folder}: the folder is empty; it needs {names} files")
    kinds = {SUFFIXES.get(file.suffix.lower(), "") for file in files}
    if len(kinds) > 1 or "" in kinds:
        odd = next((f for f in files if f.suffix.lower() not in SUFFIXES), files[-1])
        raise InputError(
            f"{folder}: holds {odd.name}; a folder of sections holds either {names} files "
            "and nothing else: move the rest away"
        )
    return files
