"""
A stack larger than memory, stopped and gone on with
====================================================

From file to file, sections flow through the network in bands of rows. Neither the input nor the
output is ever in memory as a whole. A run that is stopped leaves a journal of what is finished, and
the same call goes on from there.

The stack is small here, so that the page is built in seconds. Nothing below would be different for
a terabyte.
"""

import hashlib
import signal
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import tifffile

from paper_unet.large import PredictConfig, predict_file
from paper_unet.large.executor import LocalExecutor
from paper_unet.large.report import Report
from paper_unet.synthetic import synthetic_stack
from paper_unet.system.stop import Stopped

folder = Path(tempfile.mkdtemp())
stack = synthetic_stack(sections=3, shape=(160, 128), seed=0).images
tifffile.imwrite(folder / "stack.tif", stack, photometric="minisblack")

# %%
# The settings name the files. ``memory`` is what the process may take; the plan is made to fit into
# it. :class:`~paper_unet.large.report.Report` prints the plan before the work begins.

config = PredictConfig(
    source=str(folder / "stack.tif"),
    out=str(folder / "probability.tif"),
    dtype="uint8",
    memory="4GB",
    device="cpu",
)

# %%
# Now let something stop it. A batch system sends a signal when the time is up. Here the run sends
# one to itself when the first piece is on disk.


class StoppedEarly(LocalExecutor):
    """Computes in this process, and is interrupted once a piece is finished."""

    def pieces(self, *work):
        """Give the pieces; after the first one comes what Ctrl-C sends."""
        for k, piece in enumerate(super().pieces(*work)):
            if k == 0:
                signal.raise_signal(signal.SIGINT)
            yield piece


try:
    predict_file(config, executor=StoppedEarly(), report=Report(say=print))
except Stopped as stopped:
    print("stopped:", stopped)

# %%
# The output has not got its name yet: half a result never looks like a whole one. Beside it lies
# the journal, with a checksum of every piece.

print(sorted(path.name for path in folder.iterdir()))

# %%
# The same call goes on. Before it does, it compares what is on disk with the journal, so that
# nothing is built on damage.

predict_file(config, report=Report(say=print))
print(sorted(path.name for path in folder.iterdir()))

# %%
# The promise is that the bytes are those of a run that was never stopped. So make one, and compare.

whole = PredictConfig(
    source=config.source,
    out=str(folder / "never_stopped.tif"),
    dtype="uint8",
    memory="4GB",
    device="cpu",
)
predict_file(whole)
digests = {hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (config.out, whole.out)}
assert len(digests) == 1
print("the same bytes:", *digests)

# %%
# And this is what they show.

figure, axes = plt.subplots(2, 3, figsize=(6, 5), layout="constrained")
for z, probability in enumerate(tifffile.imread(config.out)):
    for axis, image in zip(axes[:, z], (stack[z], probability), strict=True):
        axis.imshow(image, cmap="gray")
        axis.axis("off")
    axes[0, z].set_title(f"section {z}")

# %%
# On the command line::
#
#     paper-unet predict stack.tif -o probability.tif --dtype uint8 --memory 4GB
#
# Stop it as you like, with Ctrl-C, a kill or the power switch, and give the same line again.
# :doc:`../large_stacks` has clusters, limits and speed; :doc:`../faults` what else can go wrong.
# Next: :doc:`4_which_metric`.
