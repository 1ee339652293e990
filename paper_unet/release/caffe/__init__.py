"""The network that the authors released in 2015, out of its Caffe file.

A ``.caffemodel`` is a protocol buffer: numbers and names, no code. It is read by Google's library
(extra ``caffe``), after its frame has been walked, so that a hostile file costs no more memory than
its own size.
"""

from paper_unet.release.caffe.mapping import PARTS, import_caffe, release_network
from paper_unet.release.caffe.reader import CaffeLayer, CaffeNetwork, read_network

__all__ = [
    "PARTS",
    "CaffeLayer",
    "CaffeNetwork",
    "import_caffe",
    "read_network",
    "release_network",
]
