"""Stacks that do not fit in memory: from file to file, piece by piece, resumable, on a cluster."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from paper_unet.large.config import PredictConfig
    from paper_unet.large.join import join_parts
    from paper_unet.large.parts import predict_part
    from paper_unet.large.run import predict_file

__all__ = ["PredictConfig", "join_parts", "predict_file", "predict_part"]

__getattr__, __dir__, _ = lazy_loader.attach(  # type: ignore[no-untyped-call]
    __name__,
    submod_attrs={
        "config": ["PredictConfig"],
        "join": ["join_parts"],
        "parts": ["predict_part"],
        "run": ["predict_file"],
    },
)
