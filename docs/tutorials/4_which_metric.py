"""
Which metric says what
======================

Five numbers come with the ISBI 2012 challenge, and no single one is enough. The quickest way to see
what each of them sees is to break a perfect answer in known ways.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

from paper_unet.metrics import isbi2012_scores
from paper_unet.synthetic import synthetic_stack

tissue = synthetic_stack(sections=1, side=224, seed=5)
labels = tissue.labels
truth = (labels > 0).astype(np.float32)

# %%
# Five ways to be wrong:
#
# - **wide membranes**: every membrane is two pixels wider on each side, no cell is lost or joined;
# - **one gap**: a single hole of a few pixels, through which the two largest neighbours join;
# - **ten cuts**: thin lines across large cells, which split them;
# - **noise**: one pixel in a hundred is wrong, scattered;
# - **nothing at all**: the same value everywhere.


def wide_membranes():
    """Erode the cells."""
    return ndimage.binary_erosion(truth[0], iterations=2)[None].astype(np.float32)


def one_gap():
    """Open the membrane between the two largest cells that have one between them."""
    cells, _ = ndimage.label(truth[0])
    sizes = np.bincount(cells.ravel())
    best = (0, None)
    for y, x in np.argwhere(cells == 0):
        window = cells[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5]
        near = sorted((sizes[k], k) for k in np.unique(window) if k)[-2:]
        if len(near) == 2 and near[0][0] > best[0]:
            best = (near[0][0], (y, x))
    y, x = best[1]
    gap = truth.copy()
    gap[0, max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5] = 1
    return gap


def ten_cuts():
    """Cut the ten largest cells across, one pixel wide."""
    cells, _ = ndimage.label(truth[0])
    cut = truth.copy()
    largest = np.argsort(np.bincount(cells.ravel())[1:])[-10:] + 1
    for number, place in zip(
        largest, ndimage.center_of_mass(truth[0], cells, largest), strict=True
    ):
        cut[0, round(place[0]), cells[round(place[0])] == number] = 0
    return cut


def noise():
    """Flip one pixel in a hundred."""
    flip = np.random.default_rng(0).random(truth.shape) < 0.01
    return np.where(flip, 1 - truth, truth)


answers = {
    "perfect": truth,
    "wide membranes": wide_membranes(),
    "one gap": one_gap(),
    "ten cuts": ten_cuts(),
    "noise": noise(),
    "nothing at all": np.full_like(truth, 0.5),
}
figure, axes = plt.subplots(2, 3, figsize=(8, 5.6), layout="constrained")
for axis, (title, answer) in zip(axes.flat, answers.items(), strict=True):
    axis.imshow(answer[0], cmap="gray", vmin=0, vmax=1)
    axis.set_title(title)
    axis.axis("off")

# %%
# Score them all. The two scores are best at 1, the three errors at 0.

names = ("v_rand", "v_info", "rand_error", "warping_error", "pixel_error")
print(f"{'':<15}" + "".join(f"{name:>15}" for name in names))
table = {}
for title, answer in answers.items():
    scores = table[title] = isbi2012_scores(labels, answer)
    print(f"{title:<15}" + "".join(f"{getattr(scores, name):15.4f}" for name in names))

# %%
# Read the table by columns.
#
# - **Pixel error** is large for wide membranes, which harm nobody, and hardly sees the gap, which
#   joins two cells.
# - **V_rand and V_info** do not mind wide membranes: cells are grown until they meet before they
#   are compared. One gap costs them much more than its few pixels.
# - **Warping error** counts pixels where cells split or join, in millionths of the image. It is
#   excellent for *nothing at all*. So never show it alone.
#
# For EM sections look at V_rand and V_info first, as the challenge has done since 2015. For numbers
# of cells in 3-D take the adapted Rand error and the variation of information; for cells in frames
# take SEG. :doc:`../metrics` has the definitions.

assert table["one gap"].pixel_error < table["wide membranes"].pixel_error
assert table["one gap"].v_rand < table["wide membranes"].v_rand
assert table["nothing at all"].warping_error < 0.01

# %%
# On the command line::
#
#     paper-unet evaluate labels.tif probability.tif --plot scores.png
#
# Next: :doc:`5_cells`.
