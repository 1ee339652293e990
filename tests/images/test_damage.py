"""What a library raises becomes one line; what is meant to come through does."""

import signal
from pathlib import Path

import numpy as np
import pytest

from paper_unet.errors import InputError
from paper_unet.images import create_output
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
