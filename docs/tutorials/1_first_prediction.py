"""
A first prediction
==================

Segment a stack of sections with the weights that come with the package, and look at the result.

A stack is an array of shape (Z, Y, X): sections, rows, columns. Here it is made up, so the truth is
known to the pixel. Your own comes from :func:`paper_unet.images.read_stack`.
"""

import matplotlib.pyplot as plt

from paper_unet import load_model, predict_stack
from paper_unet.metrics import isbi2012_scores
from paper_unet.synthetic import synthetic_stack

tissue = synthetic_stack(sections=2, side=224, seed=3)
print(tissue.images.shape, tissue.images.dtype)

# %%
# Two calls are all that it takes. The weights know sections of about 4 nm a pixel with dark
# membranes. What comes out is the probability, at each pixel, of being inside a cell.

model = load_model()
probability = predict_stack(model, tissue.images)
print(probability.shape, probability.dtype, probability.min(), probability.max())

# %%
# The output is as large as the input. The network itself has no padding and gives 184 pixels less
# than it sees. The missing context beyond the border is the image mirrored, as in the paper.

figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
shown = {
    "section": tissue.images[0],
    "P(cell)": probability[0],
    "truth": tissue.labels[0],
}
for axis, (title, image) in zip(axes, shown.items(), strict=True):
    axis.imshow(image, cmap="gray")
    axis.set_title(title)
    axis.axis("off")

# %%
# How good is it? The five numbers of the ISBI 2012 challenge answer, each at its own best
# threshold. What each of them says is a lesson of its own: :doc:`4_which_metric`.

scores = isbi2012_scores(tissue.labels, probability)
print(f"V_rand {scores.v_rand:.3f} at threshold {scores.thresholds['v_rand']:.1f}")
print(f"V_info {scores.v_info:.3f} at threshold {scores.thresholds['v_info']:.1f}")

# %%
# On the command line the same is one line. It reads and writes files section by section, so the
# stack need not fit in memory::
#
#     paper-unet predict stack.tif -o probability.tif
#
# Next: :doc:`2_train_on_your_labels`.
