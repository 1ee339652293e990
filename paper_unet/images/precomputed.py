"""What readers and outputs share of Neuroglancer's precomputed volumes: names in its document."""

from __future__ import annotations

DOCUMENT, VOLUME = "info", "neuroglancer_multiscale_volume"
"""The name of the document in the folder of a volume, and what it says that it describes."""

UNKNOWN = "unknown_resolution"
"""Member of a scale that lists the axes of which the size of a pixel is not known, where the
document needs a number and has 1 nm. It is this software's own; others leave it alone."""

ABOUT = "paper_unet"
"""Member of the document that holds what else is said of the pixels; others leave it alone, too."""
