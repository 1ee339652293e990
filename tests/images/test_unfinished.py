"""The output of a run that has not written anything yet, and one that is no run's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paper_unet.errors import InputError
from paper_unet.images import create_output, open_stack, open_unfinished

pytest.importorskip("zarr")
SHAPE = (3, 600, 700)
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("out.tif", {}),
    ("out.ome.tif", {}),
    ("out.h5", {}),
    ("out.h5:/volumes/p", {}),
    ("out.zarr", {}),
    ("out.zarr", {"ome_zarr": "0.4"}),
    ("out.zarr", {"shard": 512}),
    ("out.zarr", {"labels": True}),
    ("out.precomputed", {}),
    ("out.precomputed", {"labels": True}),
]


@pytest.mark.parametrize(("name", "more"), KINDS)
def test_before_anything_is_written_all_is_zero(
    tmp_path: Path, name: str, more: dict[str, Any]
) -> None:
    out = tmp_path / name
    output = create_output(out, SHAPE, "uint8", **more)
    output.prepare(resume=False)
    with open_unfinished(out) as stack:
        assert stack.shape == SHAPE
        assert stack.dtype == np.uint8
        for z in range(SHAPE[0]):
            assert not stack[z].any()
        assert stack.notes[-1] == f"{out}: is being written; what there is so far is shown"
    output.write(1, 0, 0, np.full(SHAPE[1:], 7, np.uint8))
    output.sync(1, (0, SHAPE[1]), (0, SHAPE[2]))
    with open_unfinished(out) as stack:
        assert [int(stack[z].min()) for z in range(SHAPE[0])] == [0, 7, 0]
        assert [int(stack[z].max()) for z in range(SHAPE[0])] == [0, 7, 0]


@pytest.mark.parametrize("name", ["out.zarr", "out.precomputed"])
def test_a_finished_store_without_a_chunk_is_refused(tmp_path: Path, name: str) -> None:
    """Its chunks were not copied with it."""
    output = create_output(tmp_path / name, SHAPE, "uint8")
    output.prepare(resume=False)
    output.close()
    Path(f"{tmp_path / name}.partial").rename(tmp_path / name)
    for missing in ("fail", "fill"):
        with pytest.raises(InputError, match="has no chunk of its"):
            open_stack(tmp_path / name, missing=missing)  # type: ignore[arg-type]


def test_what_no_run_is_writing_is_refused(tmp_path: Path) -> None:
    for name in ("out.zarr", "out.tif", "out.png"):
        with pytest.raises(InputError, match="no run is writing it"):
            open_unfinished(tmp_path / name)
