"""The U-Net of Ronneberger, Fischer and Brox (MICCAI 2015), as the paper has it."""

from paper_unet.geometry import input_size, output_size
from paper_unet.inference.predict import predict_image, predict_stack
from paper_unet.model import UNet
from paper_unet.networks.weights_file import load_model
from paper_unet.training.config import TrainConfig
from paper_unet.training.loop import train
from paper_unet.weight_map import border_weight_map, separate_touching, weight_map

__version__ = "0.1.0.dev0"
__all__ = [  # noqa: RUF022  in the order of the paper
    "UNet", "output_size", "input_size", "predict_image", "predict_stack", "load_model",
    "border_weight_map", "weight_map", "separate_touching", "train", "TrainConfig",
]  # fmt: skip
