"""From probabilities to numbers of cells, block by block, whatever the size of the volume."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from paper_unet.segmentation.config import SegmentConfig
    from paper_unet.segmentation.run import segment_file

__all__ = ["SegmentConfig", "segment_file"]

__getattr__, __dir__, _ = lazy_loader.attach(  # type: ignore[no-untyped-call]
    __name__, submod_attrs={"config": ["SegmentConfig"], "run": ["segment_file"]}
)
