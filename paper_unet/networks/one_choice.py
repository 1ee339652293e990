"""Networks that differ from the paper's in one choice, to measure what the choice buys."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Final

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.swa_utils import update_bn

from paper_unet.geometry import DEPTH, Context
from paper_unet.model import UNet


class SamePaddingUNet(UNet):
    """The paper's network with zero padding in every 3x3 convolution, so output and input agree.

    It takes sides that are multiples of 16. Parameters are those of `UNet`, and so are their
    number and names.
    """

    variant = "same_padding"
    streams = False
    context = Context(2**DEPTH, before=112, after=112)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                layer.padding = (1, 1)

    @classmethod
    def output_side(cls, side: int) -> int:
        """Return ``side``, which has to be a multiple of 16."""
        return cls.context.output_side(side, cls.variant)


class BatchNormUNet(UNet):
    """The paper's network with batch normalisation between each 3x3 convolution and its ReLU.

    Parameters are those of `UNet`. `for_prediction` gives the plain network that computes the same.
    """

    variant = "paper_batch_norm"
    streams = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in DOUBLE_CONVS:
            layers: list[nn.Module] = []
            for layer in getattr(self, name):
                layers.append(layer)
                if isinstance(layer, nn.Conv2d):
                    layers.append(nn.BatchNorm2d(layer.out_channels))
            setattr(self, name, nn.Sequential(*layers))

    def settle(self, images: Iterable[Tensor]) -> None:
        """Take mean and variance of every normalisation from the finished weights.

        While training, the running values follow the last ten tiles or so, seen with drop-out,
        which raises the variance of all that comes after it; the network that predicts has none.

        Parameters
        ----------
        images : iterable of Tensor, shape (N, C, Y, X)
            Training tiles as the network sees them, on its device. Their statistics are averaged
            with equal weights, without drop-out.

        References
        ----------
        Li et al. 2019, Understanding the disharmony between dropout and batch normalization by
        variance shift.
        """
        rate, self.dropout.p = self.dropout.p, 0.0
        try:
            update_bn(images, self)
        finally:
            self.dropout.p = rate

    def for_prediction(self) -> UNet:
        """Return the paper's network with the normalisation of evaluation in its weights.

        This network stays as it is, in whatever mode it is in.
        """
        plain = UNet.from_config(self.config)
        weights: dict[str, Tensor] = {}
        for name, module in self.named_children():
            if name not in DOUBLE_CONVS:
                weights |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
                continue
            layers = list(copy.deepcopy(module).eval().children())  # conv, norm, ReLU, twice
            for place, k in ((0, 0), (2, 3)):
                conv, norm = layers[k], layers[k + 1]
                if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
                    raise TypeError(f"{name} is not the double convolution that was built")
                fused = fuse_conv_bn_eval(conv, norm)
                weights |= {f"{name}.{place}.{key}": v for key, v in fused.state_dict().items()}
        plain.load_state_dict(weights)
        plain.grey_ranges, plain.record = dict(self.grey_ranges), dict(self.record)
        plain.centre = self.centre
        return plain.to(self.head.weight.device).eval()


DOUBLE_CONVS: Final = (
    *(f"down{level}" for level in range(DEPTH + 1)),
    *(f"up{level}" for level in range(DEPTH)),
)
