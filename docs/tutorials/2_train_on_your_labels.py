"""
Train on your own labels, and know when to stop
===============================================

Training needs two stacks of the same shape: the sections, and labels that are 0 on membranes and
one other value in cells. Keep some labelled sections out of it. They are the only way to know when
to stop.

Here the data are made up, and the network is far too narrow to be good, so that the page is built
in seconds. What the curves show is the same at full size.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import tifffile

from paper_unet import TrainConfig, load_model, predict_image, train
from paper_unet.synthetic import synthetic_stack
from paper_unet.training.loop import read_training_set

folder = Path(tempfile.mkdtemp())
tissue = synthetic_stack(sections=2, side=192, seed=1)
for name, stack in (("images", tissue.images), ("labels", tissue.labels)):
    tifffile.imwrite(folder / f"{name}.tif", stack, photometric="minisblack")

# %%
# Every setting is a field of one table, :class:`paper_unet.TrainConfig`. Its defaults are the
# paper's. These here are for a processor and a few seconds: 4 channels and not 64, Adam, and batch
# normalisation while it trains. Section 0 is learned from.

config = TrainConfig(
    images=str(folder / "images.tif"),
    labels=str(folder / "labels.tif"),
    slices="0:1",
    out=str(folder / "augmented"),
    network="paper_batch_norm",
    optimizer="adam",
    lr=3e-3,
    width=4,
    tile=252,
    steps=80,
    log_every=10,
    validate_every=10,
    device="cpu",
)

# %%
# Section 1 is held out: its loss is written down every 10 steps, and nothing is learned from it. We
# train twice: once with the paper's augmentation, and once without any.

plain = replace(
    config,
    out=str(folder / "plain"),
    elastic=0.0,
    rotate=False,
    mirror=False,
    shift=False,
    grey=0.0,
    dropout=0.0,
)
held_out = read_training_set(replace(config, slices="1:2"))
for choice in (config, plain):
    train(choice, held_out=held_out, progress=False)

# %%
# A run leaves ``log.jsonl``, one line for each entry. Draw both losses.


def losses(run):
    """Return the steps, and the loss of what is learned from and of what is held out."""
    lines = (folder / run / "log.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [[row[key] for row in rows] for key in ("step", "loss", "held_out_loss")]


figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for axis, run in zip(axes, ("plain", "augmented"), strict=True):
    steps, learned, kept = losses(run)
    axis.plot(steps, learned, label="learned from")
    axis.plot(steps, kept, label="held out")
    axis.set(title=run, xlabel="step")
axes[0].set_ylabel("loss")
axes[0].legend()

# %%
# **When to stop.** Look at the held-out loss, never at the other one. Without augmentation the
# network learns the one section by heart: the loss that it learns from goes on falling, and the
# held-out loss turns and rises. From there on more steps make it worse. With augmentation every
# tile looks different, and both fall together.
#
# So: while the held-out loss falls, go on. Where it has turned, stop earlier or augment more. The
# rate goes to zero over the last 40 % of the steps, so choose the number of steps and train anew;
# do not cut a run where its curve looks best.

for run in ("plain", "augmented"):
    steps, _, kept = losses(run)
    best = min(range(len(kept)), key=kept.__getitem__)
    print(
        f"{run}: lowest held-out loss {kept[best]:.2f} at step {steps[best]}, last {kept[-1]:.2f}"
    )

# %%
# The weights lie in the folder of the run. They carry their settings and a checksum, and every
# command takes them.

model = load_model(folder / "augmented" / "weights.safetensors")
probability = predict_image(model, tissue.images[1])
print(model.variant, probability.shape)

# %%
# On the command line::
#
#     paper-unet train --images images.tif --labels labels.tif --slices 0:24 \
#         --validate 24:30 --validate-every 500 --out runs/mine
#     paper-unet predict more.tif -o out.tif --weights runs/mine/weights.safetensors
#
# A run that was stopped goes on with ``--resume``. :doc:`../training` has the recipe, and what to
# do when nothing is learned. Next: :doc:`3_larger_than_memory`.
