"""
Cells from probabilities
========================

A network says of each voxel how probably it is inside a cell. Most questions are about cells. This
lesson gives each cell a number, in two ways, and says how good the numbers are.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import tifffile

from paper_unet import load_model, predict_stack
from paper_unet.figures.cell_colours import matched_colours, paint
from paper_unet.images import read_stack
from paper_unet.metrics import cell_scores
from paper_unet.segmentation import SegmentConfig, segment_file
from paper_unet.synthetic import synthetic_stack

folder = Path(tempfile.mkdtemp())
tissue = synthetic_stack(sections=4, side=192, seed=2)
probability = predict_stack(load_model(), tissue.images)
tifffile.imwrite(folder / "probability.tif", probability, photometric="minisblack")

# %%
# **Components** are connected voxels above a threshold. In 3-D one hole in one membrane joins two
# cells, and in sections this thick neighbours lie on top of each other: much is joined.
#
# **Watershed** begins at seeds, the parts that are far from any membrane, and cuts at necks.

done = {}
for method in ("components", "watershed"):
    config = SegmentConfig(
        source=str(folder / "probability.tif"),
        out=str(folder / f"{method}.tif"),
        method=method,
        threshold="0.4",
        min_size=20,
    )
    done[method] = segment_file(config)
    print(f"{method}: {done[method].cells} cells as {done[method].dtype}")

# %%
# 0 is background, and cells are counted from 1. Cells that were found have the colour of the true
# cell that they cover most; white and grey ones are pieces that are left over.

cells = {method: read_stack(result.path, labels=True) for method, result in done.items()}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
truth = tissue.instances[1]
axes[0].imshow(paint(truth, matched_colours(truth, cells["watershed"][1])[0]))
axes[0].set_title("truth, section 1")
for axis, (method, found) in zip(axes[1:], cells.items(), strict=True):
    axis.imshow(paint(found[1], matched_colours(truth, found[1])[1]))
    axis.set_title(method)
for axis in axes:
    axis.axis("off")

# %%
# The picture is one section. The numbers are of the volume. VOI merge grows where cells are joined,
# VOI split where they are cut, and the adapted Rand error with both; 0 is best.

for method, found in cells.items():
    scores = cell_scores(tissue.instances, found)
    print(
        f"{method:<11} adapted Rand error {scores.adapted_rand_error:.3f}, VOI split "
        f"{scores.voi_split:.2f}, VOI merge {scores.voi_merge:.2f}"
    )

# %%
# On the command line, for volumes of any size::
#
#     paper-unet segment probability.tif -o cells.tif --method watershed --threshold 0.4
#     paper-unet evaluate truth.tif cells.tif --labels
#
# Which threshold is best, ``paper-unet evaluate --json`` finds where there are labels.
# :doc:`../cells` says how it is done, block by block, and what the blocks change.
