"""Twenty sections of 1024 x 1024 real pixels to every format, read back by other software."""

from pathlib import Path

import numpy as np
import ome_zarr_models
import pytest
import tensorstore
import zarr
from large_helpers import small_network
from PIL import Image

from paper_unet import load_model, predict_image
from paper_unet.cli import main
from paper_unet.images import read_stack
from paper_unet.images.pyramid import halved

pytestmark = pytest.mark.data


@pytest.mark.slow
def test_the_real_stack_to_ome_zarr_and_bigtiff(vnc_stack: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "out.ome.zarr", tmp_path / "out.btf"]
    network = small_network(tmp_path / "net.safetensors")
    arguments = ["predict", str(vnc_stack), "--dtype", "uint8", "--weights", str(network)]
    for out in outputs:
        assert main([*arguments, "-o", str(out)]) == 0

    store = {"driver": "file", "path": str(outputs[0] / "0")}
    level = tensorstore.open({"driver": "zarr3", "kvstore": store}).result().read().result()
    with Image.open(outputs[1]) as tiff:  # libtiff's format, not tifffile
        pages = []
        for z in range(tiff.n_frames):
            tiff.seek(z)
            pages.append(np.asarray(tiff))
    assert outputs[1].read_bytes()[:4] == b"II\x2b\x00"  # 43: BigTIFF
    assert level.shape == (20, 1024, 1024)
    np.testing.assert_array_equal(level, np.stack(pages))
    np.testing.assert_array_equal(level, read_stack(outputs[0]))

    steps = predict_image(load_model(network), read_stack(vnc_stack)[7], dtype="uint8")
    assert np.abs(level[7].astype(int) - steps).max() <= 1
    assert np.ptp(level[7]) > 100

    image = ome_zarr_models.open_ome_zarr(zarr.open_group(outputs[0], mode="r"))
    assert [dataset.path for dataset in image.ome_attributes.multiscales[0].datasets] == ["0", "1"]
    store["path"] = str(outputs[0] / "1")
    half = tensorstore.open({"driver": "zarr3", "kvstore": store}).result().read().result()
    np.testing.assert_array_equal(half[3], halved(level[3]))
