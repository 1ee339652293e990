"""ISBI 2012 as published."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from datasets_helpers import NAMES, PIXELS, archive_of, everything_below

from paper_unet.datasets import (
    ISBI2012,
    data_folder,
    data_set,
    fetch,
    fetch_isbi2012,
    load_isbi2012,
)
from paper_unet.datasets import isbi2012 as isbi2012_module
from paper_unet.datasets.expected import ExpectedStack, read_verified
from paper_unet.errors import InputError


def test_the_table_of_data_sets():
    assert data_set("isbi2012") is ISBI2012
    assert [s.name for s in ISBI2012.parts if s.required] == list(NAMES)
    for words in ("non-commercial", "10.1371/journal.pbio.1000502", "10.3389/fnana.2015.00142"):
        assert words in ISBI2012.terms
    assert ISBI2012.archive_name == "ISBI-2012-challenge.zip"


def test_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("PAPER_UNET_DATA", raising=False)
    assert data_folder() == Path("data")
    monkeypatch.setenv("PAPER_UNET_DATA", str(tmp_path))
    assert data_folder() == tmp_path


def test_load_without_the_data(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"has no train-volume\.tif; fetch it \(paper-unet fetch"):
        load_isbi2012(tmp_path)
    monkeypatch.setenv("PAPER_UNET_DATA", str(tmp_path))
    with pytest.raises(InputError, match="isbi2012: has no"):
        load_isbi2012()


def test_load_verifies_pixels(tmp_path):
    for name in NAMES:
        tifffile.imwrite(tmp_path / name, np.zeros((30, 512, 512), np.uint8), compression="zlib")
    with pytest.raises(InputError, match=r"train-volume\.tif: other pixels than published"):
        load_isbi2012(tmp_path)


def test_load_maps_labels(tiny, tmp_path, monkeypatch):
    folder = fetch(tiny, tmp_path)
    for constant, stack in zip(
        ("TRAIN_VOLUME", "TRAIN_LABELS", "TEST_VOLUME"), tiny.parts, strict=False
    ):
        monkeypatch.setattr(isbi2012_module, constant, stack)
    data = load_isbi2012(folder)
    np.testing.assert_array_equal(data.images, PIXELS[NAMES[0]])
    np.testing.assert_array_equal(data.labels, PIXELS[NAMES[1]] == 255)
    np.testing.assert_array_equal(data.test_images, PIXELS[NAMES[2]])
    assert data.labels.dtype == np.uint8


@pytest.mark.data
def test_the_real_data(isbi2012_folder):
    data = load_isbi2012(isbi2012_folder)
    assert data.images.shape == data.labels.shape == data.test_images.shape == (30, 512, 512)
    assert set(np.unique(data.labels)) == {0, 1}
    assert 0.7 < data.labels.mean() < 0.85  # cells, not membranes, are most of the tissue


@pytest.mark.data
def test_fetch_the_real_data(isbi2012_folder, server, tmp_path, monkeypatch):
    """The published hashes, from a folder and from an archive as the public one is."""
    folder = fetch_isbi2012(tmp_path / "folder", isbi2012_folder)
    assert everything_below(folder) == sorted(NAMES)
    server.body = archive_of(
        {f"ISBI-2012-challenge/{name}": (isbi2012_folder / name).read_bytes() for name in NAMES}
    )
    local = replace(ISBI2012, url=server.url)
    monkeypatch.setattr(isbi2012_module, "ISBI2012", local)
    folder = fetch_isbi2012(tmp_path / "archive")
    assert everything_below(folder) == sorted(NAMES)
    assert server.requests == 1


def test_labels_are_verified_as_stored(tmp_path):
    """ImageJ writes masks with white as zero, where 255 is the object."""
    pixels = np.random.default_rng(0).integers(0, 2, (2, 16, 24)).astype(np.uint8) * 255
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    labels = ExpectedStack("a.tif", (2, 16, 24), digest, labels=True)
    np.testing.assert_array_equal(read_verified(tmp_path / "a.tif", labels), pixels)
    with pytest.raises(InputError, match="other pixels than published"):
        read_verified(tmp_path / "a.tif", replace(labels, labels=False))
    assert [part.name for part in ISBI2012.parts if part.labels] == [
        "train-labels.tif", "test-labels.tif"
    ]  # fmt: skip
