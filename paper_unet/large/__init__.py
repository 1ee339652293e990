"""Stacks that do not fit in memory: from file to file, piece by piece, resumable, on a cluster."""

from paper_unet.large.config import PredictConfig
from paper_unet.large.run import predict_file

__all__ = ["PredictConfig", "predict_file"]
