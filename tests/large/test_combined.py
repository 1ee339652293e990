"""Settings that meet: classes, shards, parts, percentiles, channels, and where the pixels go."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from large_helpers import Crashing, Fails, content, sections, settings
from numpy.typing import NDArray
from test_all_classes import K, network

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import read_stack
from paper_unet.large import join_parts, predict_file, predict_part

SHAPE = (2, 1100, 700)
SHARD = 1024
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "classes in shards": ("zarr", {"all_classes": True, "shard": SHARD}),
    "shards": ("zarr", {"shard": SHARD}),
    "a label image in shards": ("zarr", {"argmax": True, "shard": SHARD}),
    "classes": ("zarr", {"all_classes": True}),
    "precomputed": ("precomputed", {}),
    "a label image, precomputed": ("precomputed", {"argmax": True}),
    "percentiles, precomputed": ("precomputed", {"percentiles": (1, 99)}),
    "percentiles in shards": ("zarr", {"percentiles": (1, 99), "shard": SHARD}),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network(tmp_path / "net.safetensors")
    sections(tmp_path / "in.tif", SHAPE)
    return tmp_path


def levels_of(path: Path) -> list[NDArray[Any]]:
    """All levels of an output, by tensorstore or zarr."""
    if path.suffix == ".zarr":
        group = zarr.open_group(path, mode="r")
        return [np.asarray(group[key][:]) for key in sorted(group.array_keys())]
    import tensorstore

    where = {"driver": "file", "path": str(path)}
    found = []
    for k in range(len(json.loads((path / "info").read_text())["scales"])):
        spec = {"driver": "neuroglancer_precomputed", "scale_index": k, "kvstore": where}
        found.append(np.asarray(tensorstore.open(spec).result().read().result())[..., 0].T)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_stopped_or_in_parts_to_the_same_bytes(folder: Path, way: str) -> None:
    kind, given = WAYS[way]
    whole = predict_file(settings(folder, f"whole.{kind}", **given))
    plain = predict_file(settings(folder, "plain.zarr", **{**given, "shard": 0}))
    for found, expected in zip(levels_of(whole), levels_of(plain), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    config = settings(folder, f"out.{kind}", **given)
    for crash in (Crashing(pieces=1), Crashing(tasks=0)):
        with pytest.raises(Fails):
            predict_file(config, executor=crash)
    predict_file(config)
    assert content(folder / f"out.{kind}") == content(whole)
    config = settings(folder, f"parts.{kind}", **given)
    with pytest.raises(Fails):
        predict_part(config, "2/2", executor=Crashing(pieces=1))
    for part in ("1/2", "2/2"):
        predict_part(config, part)
    join_parts(config)
    assert content(folder / f"parts.{kind}") == content(whole)
    assert not [path.name for path in folder.iterdir() if "journal" in path.name]


def test_a_label_image_is_a_segmentation_of_whole_classes(folder: Path) -> None:
    out = predict_file(settings(folder, "out.precomputed", argmax=True))
    assert json.loads((out / "info").read_text())["type"] == "segmentation"
    levels = levels_of(out)
    assert len(levels) > 1
    for finer, coarser in pairwise(levels):
        np.testing.assert_array_equal(coarser, finer[:, ::2, ::2])
        assert set(np.unique(coarser)) <= set(range(K))


def test_what_percentiles_were_is_said(folder: Path) -> None:
    given = {"percentiles": (1, 99)}
    predict_file(settings(folder, "out.precomputed", **given))
    predict_file(settings(folder, "out.zarr", **given))
    said = json.loads((folder / "out.precomputed" / "info").read_text())["paper_unet"]
    assert said == zarr.open_group(folder / "out.zarr", mode="r").attrs["paper_unet"]
    assert said["percentiles"] == [1, 99]
    with pytest.raises(Fails):
        predict_file(settings(folder, "on.precomputed", **given), executor=Crashing(pieces=1))
    with pytest.raises(InputError, match=r"range = .*to go on"):
        predict_file(settings(folder, "on.precomputed", percentiles=(2, 98)))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "out.precomputed": ({"all_classes": True}, "holds one value for each pixel, not 3"),
    "shards.precomputed": ({"shard": SHARD}, "is for OME-Zarr 0.5; leave it out"),
    "old.zarr": ({"shard": SHARD, "ome_zarr": "0.4", "all_classes": True}, "has no shards"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_one_line(folder: Path, name: str) -> None:
    given, says = REFUSED[name]
    ways: list[Callable[[], object]] = [
        lambda: predict_file(settings(folder, name, **given)),
        lambda: predict_part(settings(folder, name, **given), "1/2"),
    ]
    for refuses in ways:
        with pytest.raises(InputError, match=says) as refusal:
            refuses()
        assert "\n" not in str(refusal.value)
    assert {path.name for path in folder.iterdir()} == {"in.tif", "net.safetensors"}


@pytest.mark.parametrize("bucket", ["s3://bucket/out.zarr", "gs://bucket/out.zarr"])
def test_parts_are_not_written_to_a_bucket(folder: Path, bucket: str) -> None:
    config = replace(settings(folder), out=bucket)
    for refuses in (lambda: predict_part(config, "1/2"), lambda: join_parts(config)):
        with pytest.raises(InputError, match=f"{bucket}: parts share files") as refusal:
            refuses()
        assert "\n" not in str(refusal.value)


def test_no_script_shows_what_is_secret(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["https://me:pa55@host/in.zarr", "-o", "out.zarr"],
        ["https://host/in.zarr?X-Amz-Signature=pa55", "-o", "out.zarr"],
        ["in.tif", "-o", "s3://bucket/out.zarr"],
    ):
        assert main(["predict", *words, "--print-sbatch", "3"]) == 2
        printed = capsys.readouterr()
        assert "pa55" not in printed.out + printed.err
        assert printed.out == "" and printed.err.count("\n") == 1
    assert main(["predict", "https://host/in.zarr", "-o", "out.zarr", "--print-sbatch", "3"]) == 0
    assert "https://host/in.zarr" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["n5", "precomputed"])
def test_a_channel_of_a_volume_is_predicted(folder: Path, kind: str) -> None:
    pytest.importorskip("tensorstore")
    from n5_helpers import write_n5
    from precomputed_helpers import write_precomputed

    noise = read_stack(folder / "in.tif")[:, :300, :210]
    several = np.stack([255 - noise, noise, noise // 2])
    if kind == "n5":
        source = write_n5(folder / "in.n5", "raw", several, block=(2, 2, 50, 60), axes=list("xyzc"))
    else:
        source = write_precomputed(folder / "in", several)
    for k in range(3):
        tifffile.imwrite(folder / "one.tif", several[k], metadata={"axes": "ZYX"})
        config = replace(settings(folder, f"{k}.h5"), source=str(folder / "one.tif"))
        expected = read_stack(predict_file(config))
        found = predict_file(
            replace(settings(folder, f"{k}.tif", channel=str(k)), source=str(source))
        )
        np.testing.assert_array_equal(read_stack(found), expected)
    with pytest.raises(InputError, match="3 channels") as refusal:
        predict_file(replace(settings(folder), source=str(source)))
    assert "`channel`" in str(refusal.value)
    with pytest.raises(InputError, match="has 3 channels and none is"):
        predict_file(replace(settings(folder, channel="3"), source=str(source)))
