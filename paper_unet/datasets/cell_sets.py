"""PhC-C2DH-U373 and DIC-C2DH-HeLa: the two training sets of the paper's Table 2."""

from __future__ import annotations

from collections.abc import Mapping

from paper_unet.datasets.expected import DataSet, Part
from paper_unet.datasets.frames import ExpectedFrames

URL = "https://data.celltrackingchallenge.net/training-datasets"
TERMS = (
    "Cell Tracking Challenge, {}: for research and for benchmarking, by the terms of the challenge "
    "(https://celltrackingchallenge.net). Cite Maska et al. 2014, "
    "doi:10.1093/bioinformatics/btu080, and Ulman et al. 2017, doi:10.1038/nmeth.4473."
)
# sparse: not every frame has a segmentation
U373_SEGMENTED = {
    "01": (1, 5, 6, 7, 21, 49, 59, 67, 72, 75, 92, 96, 100, 102, 112),
    "02": (10, 17, 19, 20, 22, 26, 35, 36, 41, 49, 51, 52, 59, 74, 77, 85, 92, 106, 112),
}
HELA_SEGMENTED = {
    "01": (2, 5, 21, 31, 33, 34, 39, 54, 67),
    "02": (6, 7, 14, 27, 34, 38, 42, 61, 67),
}


def _sequence(
    name: str,
    frames: int,
    shape: tuple[int, int],
    segmented: tuple[int, ...],
    hashes: tuple[str, str, str],
) -> tuple[Part, ...]:
    """Return the folders of one sequence; the images last, so that they never lie there alone."""
    markers, masks, images = hashes
    all_frames = range(frames)
    return (
        ExpectedFrames(
            f"{name}_GT/TRA", "man_track", all_frames, shape, "uint16", markers, "man_track.txt"
        ),
        ExpectedFrames(f"{name}_GT/SEG", "man_seg", segmented, shape, "uint16", masks),
        ExpectedFrames(name, "t", all_frames, shape, "uint8", images),
    )


def _training_set(
    name: str,
    frames: int,
    shape: tuple[int, int],
    segmented: Mapping[str, tuple[int, ...]],
    hashes: Mapping[str, tuple[str, str, str]],
    pixel_size: float,
) -> DataSet:
    parts = [_sequence(s, frames, shape, segmented[s], hashes[s]) for s in ("02", "01")]
    return DataSet(
        name,
        f"{URL}/{name}.zip",
        (*parts[0], *parts[1]),
        TERMS.format(name),
        codecs=True,
        pixel_size=pixel_size,
    )


# of TRA with its table, of SEG, and of the images; tests/datasets/test_cell_sets.py computes them
# another way
U373_SHA256 = {
    "01": (
        "0545e67502bd85e507b1188ba2414b18b221f5a7b791fcf757f3506853c5ddc4",
        "19fbc989df820a0b89fdb7497799090fbcc37cdc060e8301545767a1ef6e76b1",
        "53fdea4ddfe4ae04bf9d20c1003caaef9c4b9529e276ebd21ba0150e9cfbf6ae",
    ),
    "02": (
        "1e1a3e7f2497e6761b55482b96445b61f8cda38cefd097760ec8d397f7d8eef2",
        "d3695af2fe0c15d09e87d4e9fd2db65ca71440946f729421ea9f40be63182d1c",
        "e477d211e66831a62e9930eda5b0d204707991fbb67c0d8c75bca575181c0520",
    ),
}
HELA_SHA256 = {
    "01": (
        "18807df6aa2e8bf06bbee58e26d4f4fb4b9eca7ea73b6f3d7082cef3b8d0e0b3",
        "a81ae2e5ce4e3fd6b290ec4c376ead9fa56f762d8574b158e7af18543732849c",
        "644142fe700576329a746d100818309f639e0ec3c194871cb17e6753507d557b",
    ),
    "02": (
        "497187e04c08c626e3e37b8e623a14aaccff35ee18bdadc1577aeed92e270dcc",
        "a7a5b83d77388aa475aabefeb8bfd194c9042432fc90f1b2d982f027894b43cd",
        "82d4f3feb0a8860e2a6dd2b6808f1c96f3ac14d74589de25939e675444eb22ea",
    ),
}

PHC_C2DH_U373 = _training_set("PhC-C2DH-U373", 115, (520, 696), U373_SEGMENTED, U373_SHA256, 0.65)
DIC_C2DH_HELA = _training_set("DIC-C2DH-HeLa", 84, (512, 512), HELA_SEGMENTED, HELA_SHA256, 0.19)
