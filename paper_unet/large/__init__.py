"""Stacks that do not fit in memory: from file to file, piece by piece, resumable, on a cluster."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from paper_unet.large.config import PredictConfig
    from paper_unet.large.run import predict_file

__all__ = ["PredictConfig", "predict_file"]

__getattr__, __dir__, _ = lazy_loader.attach(  # type: ignore[no-untyped-call]
    __name__, submod_attrs={"config": ["PredictConfig"], "run": ["predict_file"]}
)
