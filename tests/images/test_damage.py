"""What a library raises becomes one line; what is meant to come through does."""

import errno
import io
import os
import re
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paper_unet.errors import InputError
from paper_unet.images import create_output, open_stack
from paper_unet.images.readers.damage import MOST_SHOWN, reading
from paper_unet.system.stop import Stopped


@pytest.mark.parametrize(
    ("error", "said"),
    [(ValueError("two\n lines"), "two lines"), (KeyError(), "KeyError"), (OSError(5, "E"), "E")],
)
def test_any_error_of_a_library_is_one_line(error: Exception, said: str) -> None:
    with pytest.raises(InputError) as caught, reading(Path("a.h5"), "slice 3"):
        raise error
    text = str(caught.value)
    assert text.startswith("a.h5: slice 3 cannot be read (") and said in text
    assert text.endswith("; the file is damaged: copy or export it again") and "\n" not in text


def wrapped(error: Exception, *, said: bool) -> Exception:
    """As libraries make another error of the system's."""
    try:
        try:
            raise error
        except Exception as first:
            if said:
                raise RuntimeError("cannot decode") from first
            raise RuntimeError("cannot decode")  # noqa: B904  (as they do it)
    except RuntimeError as second:
        return second


SYSTEM = {
    "no rights": (PermissionError(errno.EACCES, "Permission denied"),
                  "(Permission denied); check its rights"),
    "not permitted": (PermissionError(errno.EPERM, "Operation not permitted"),
                      "(Operation not permitted); check its rights"),
    "files": (OSError(errno.EMFILE, "Too many open files"),
              "(Too many open files); allow more open files (ulimit -n), or open fewer at once"),
    "files of all": (OSError(errno.ENFILE, "Too many open files in system"),
                     "(Too many open files in system); the system has too many open: end other "
                     "programs"),
    "memory": (MemoryError(), "(out of memory); free some memory, or allow less of it; if it "
               "should take less, copy or export it again"),
    "an array": (MemoryError("Unable to allocate\n 8 GiB"), "(Unable to allocate 8 GiB); free"),
    "no memory": (OSError(errno.ENOMEM, "Cannot allocate memory"),
                  "(Cannot allocate memory); free some memory, or allow less of it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SYSTEM)
@pytest.mark.parametrize("way", ["alone", "from", "while"])
def test_what_the_system_refuses_is_no_damage(kind: str, way: str) -> None:
    error, said = SYSTEM[kind]
    raised = error if way == "alone" else wrapped(error, said=way == "from")
    with pytest.raises(InputError) as caught, reading(Path("a.h5"), "slice 3"):
        raise raised
    text = str(caught.value)
    assert text.startswith(f"a.h5: slice 3 cannot be read {said}")
    assert "damaged" not in text and "\n" not in text


def test_what_was_left_behind_is_not_blamed() -> None:
    with pytest.raises(InputError, match="the file is damaged"), reading(Path("a.h5"), "slice 3"):
        raise ValueError("cut short") from None


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("kind", SYSTEM)
def test_pictures(tmp_path: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When they are opened, and when they are decoded."""
    Image.new("L", (8, 8)).save(tmp_path / name)
    error, said = SYSTEM[kind]

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    with open_stack(tmp_path / name) as stack:
        monkeypatch.setattr(Image, "open", refuse)
        with pytest.raises(
            InputError, match=re.escape(f"{name}: the pixels cannot be read {said}")
        ):
            stack[0]
    with pytest.raises(InputError, match=re.escape(f"{name}: the file cannot be read {said}")):
        open_stack(tmp_path / name)


@pytest.mark.parametrize("name", ["attributes.json", "info", "a.tif"])
@pytest.mark.parametrize("kind", [kind for kind in SYSTEM if kind not in ("memory", "an array")])
def test_files_that_are_opened_here(
    tmp_path: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(b"II*\0")
    error, said = SYSTEM[kind]
    opened = os.open, io.open

    def refuse(at: Any, *more: Any, way: int, **given: Any) -> Any:
        if isinstance(at, str | Path) and Path(at) == path:
            raise error
        return opened[way](at, *more, **given)

    monkeypatch.setattr(os, "open", partial(refuse, way=0))
    monkeypatch.setattr(io, "open", partial(refuse, way=1))
    with pytest.raises(InputError, match=re.escape(f"{path}: cannot be read {said}")):
        open_stack(path if name == "a.tif" else tmp_path)


def test_long_words_are_cut() -> None:
    with pytest.raises(InputError) as caught, reading(Path("a"), "b", "c"):
        raise ValueError("x" * 10_000)
    assert len(str(caught.value)) < 2 * MOST_SHOWN


@pytest.mark.parametrize("error", [InputError("a line of its own"), Stopped(signal.SIGTERM)])
def test_a_refusal_and_a_stop_are_no_damage(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, reading(Path("a"), "b"):
        raise error
    assert caught.value is error


def test_a_stop_while_an_output_is_read_back_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def __getitem__(self, _: object) -> None:
            raise Stopped(signal.SIGTERM)

    output = create_output(tmp_path / "out.zarr", (1, 8, 8), "uint8")
    output.prepare(resume=False)
    output.write(0, 0, 0, np.ones((8, 8), np.uint8))
    assert output.looks_written(0, (0, 8), (0, 8))
    monkeypatch.setattr(output, "_arrays", lambda: [Interrupted()])
    for work in (output.read, output.looks_written):
        with pytest.raises(Stopped):
            work(0, (0, 8), (0, 8))
