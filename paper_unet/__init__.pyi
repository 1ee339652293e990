# What the package offers, for readers and type checkers; imported when it is first used.
from .geometry import input_size, output_size
from .inference.predict import predict_image, predict_stack
from .model import UNet
from .networks.weights_file import load_model
from .training.config import TrainConfig
from .training.loop import train
from .weight_map import border_weight_map, separate_touching, weight_map

__version__: str
__all__ = [  # in the order of the paper
    "TrainConfig",
    "UNet",
    "border_weight_map",
    "input_size",
    "load_model",
    "output_size",
    "predict_image",
    "predict_stack",
    "separate_touching",
    "train",
    "weight_map",
]  # fmt: skip
