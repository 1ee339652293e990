"""The well-known variants re-written literally, each as a list of layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from paper_unet.model import UNet


class Literal(nn.Module):
    """Layers in a list, taken one after the other; nothing of the package is used."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        self.at = iter(self.layers)
        return self.walk(x)

    def next(self, x: Tensor) -> Tensor:
        y: Tensor = next(self.at)(x)
        return y

    def walk(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Annotated(Literal):
    def __init__(self, i: int, o: int, w: int) -> None:
        c = lambda a, b: nn.Conv2d(a, b, 3, padding=1)  # noqa: E731
        u = lambda a, b: nn.ConvTranspose2d(a, b, 2, stride=2)  # noqa: E731
        super().__init__([
            c(i, w), c(w, w), c(w, 2 * w), c(2 * w, 2 * w), c(2 * w, 4 * w), c(4 * w, 4 * w),
            c(4 * w, 8 * w), c(8 * w, 8 * w), c(8 * w, 16 * w), c(16 * w, 16 * w),
            u(16 * w, 8 * w), c(16 * w, 8 * w), c(8 * w, 8 * w),
            u(8 * w, 4 * w), c(8 * w, 4 * w), c(4 * w, 4 * w),
            u(4 * w, 2 * w), c(4 * w, 2 * w), c(2 * w, 2 * w),
            u(2 * w, w), c(2 * w, w), c(w, w), nn.Conv2d(w, o, 1),
        ])  # fmt: skip

    def walk(self, x: Tensor) -> Tensor:
        kept = []
        for level in range(5):
            x = self.next(x).clamp(min=0)
            x = self.next(x).clamp(min=0)
            if level < 4:
                kept.append(x)
                x = F.max_pool2d(x, 2)
        for skip in reversed(kept):
            x = torch.cat([self.next(x), skip], 1)  # the crop does nothing on multiples of 16
            x = self.next(x).clamp(min=0)
            x = self.next(x).clamp(min=0)
        return self.next(x)


class Popular(Literal):
    def __init__(self, i: int, o: int, w: int, bilinear: bool) -> None:
        f = 2 if bilinear else 1

        def double(a: int, b: int, m: int | None = None) -> list[nn.Module]:
            m = m or b
            return [
                nn.Conv2d(a, m, 3, padding=1, bias=False), nn.BatchNorm2d(m),
                nn.Conv2d(m, b, 3, padding=1, bias=False), nn.BatchNorm2d(b),
            ]  # fmt: skip

        def up(a: int, b: int) -> list[nn.Module]:
            if bilinear:
                return double(a, b, a // 2)
            return [nn.ConvTranspose2d(a, a // 2, 2, stride=2), *double(a, b)]

        self_layers = [
            *double(i, w), *double(w, 2 * w), *double(2 * w, 4 * w), *double(4 * w, 8 * w),
            *double(8 * w, 16 * w // f), *up(16 * w, 8 * w // f), *up(8 * w, 4 * w // f),
            *up(4 * w, 2 * w // f), *up(2 * w, w), nn.Conv2d(w, o, 1),
        ]  # fmt: skip
        super().__init__(self_layers)
        self.bilinear = bilinear

    def double(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.next(self.next(x)).clamp(min=0)
        return x

    def walk(self, x: Tensor) -> Tensor:
        kept = [self.double(x)]
        for _ in range(4):
            kept.append(self.double(F.max_pool2d(kept[-1], 2)))
        x = kept.pop()
        while kept:
            skip = kept.pop()
            if self.bilinear:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            else:
                x = self.next(x)
            dy, dx = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
            x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            x = self.double(torch.cat([skip, x], 1))
        return self.next(x)


class ThreeLevel(Literal):
    def __init__(self, i: int, o: int, w: int) -> None:
        def double(a: int, b: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.Conv2d(b, b, 3), nn.BatchNorm2d(b)]

        def up(a: int) -> nn.Module:
            return nn.ConvTranspose2d(a, a // 2, 3, stride=2, padding=1, output_padding=1)

        super().__init__([
            *double(i, w), *double(w, 2 * w), *double(2 * w, 4 * w), *double(4 * w, 8 * w),
            up(8 * w), *double(8 * w, 4 * w), up(4 * w), *double(4 * w, 2 * w),
            up(2 * w), *double(2 * w, w), nn.Conv2d(w, o, 3, padding=1), nn.BatchNorm2d(o),
        ])  # fmt: skip

    def double(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.next(x).clamp(min=0)
            x = self.next(x)
        return x

    def walk(self, x: Tensor) -> Tensor:
        kept = []
        for _ in range(3):
            kept.append(self.double(x))
            x = F.max_pool2d(kept[-1], 2)
        x = self.double(x)
        while kept:
            x, skip = self.next(x), kept.pop()
            cut = (skip.shape[2] - x.shape[2]) // 2
            x = self.double(torch.cat([x, F.pad(skip, [-cut] * 4)], 1))
        return self.next(self.next(x).clamp(min=0))


class Keras(Literal):
    def __init__(self, i: int, o: int, w: int) -> None:
        def double(a: int, b: int) -> list[nn.Module]:
            norm = nn.BatchNorm2d(b, eps=0.001, momentum=0.01)
            return [nn.Conv2d(a, b, 3, padding="same"), nn.Conv2d(b, b, 3, padding="same"), norm]

        def up(a: int) -> nn.Module:
            return nn.Conv2d(a, a // 2, 2)

        super().__init__([
            *double(i, w), *double(w, 2 * w), *double(2 * w, 4 * w), *double(4 * w, 8 * w),
            *double(8 * w, 16 * w), up(16 * w), *double(16 * w, 8 * w), up(8 * w),
            *double(8 * w, 4 * w), up(4 * w), *double(4 * w, 2 * w), up(2 * w), *double(2 * w, w),
            nn.Conv2d(w, o, 1),
        ])  # fmt: skip

    def double(self, x: Tensor) -> Tensor:
        x = self.next(x).clamp(min=0)
        return self.next(self.next(x)).clamp(min=0)

    def walk(self, x: Tensor) -> Tensor:
        kept = [self.double(x)]
        for _ in range(4):
            kept.append(self.double(F.max_pool2d(kept[-1], 2)))
        x = kept.pop()
        while kept:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = self.next(F.pad(x, [0, 1, 0, 1])).clamp(min=0)
            x = self.double(torch.cat([kept.pop(), x], 1))
        return self.next(x)


class ValidBatchNorm(Literal):
    def __init__(self, i: int, o: int, w: int) -> None:
        def double(a: int, b: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.Conv2d(b, b, 3), nn.BatchNorm2d(b)]

        def up(a: int) -> nn.Module:
            return nn.ConvTranspose2d(a, a // 2, 2, stride=2)

        super().__init__([
            *double(i, w), *double(w, 2 * w), *double(2 * w, 4 * w), *double(4 * w, 8 * w),
            *double(8 * w, 16 * w), up(16 * w), *double(16 * w, 8 * w), up(8 * w),
            *double(8 * w, 4 * w), up(4 * w), *double(4 * w, 2 * w), up(2 * w), *double(2 * w, w),
            nn.Conv2d(w, o, 1),
        ])  # fmt: skip

    def double(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.next(self.next(x)).clamp(min=0)
        return x

    def walk(self, x: Tensor) -> Tensor:
        kept = [self.double(x)]
        for _ in range(4):
            kept.append(self.double(F.max_pool2d(kept[-1], 2)))
        x = kept.pop()
        while kept:
            x, skip = self.next(x), kept.pop()
            top, left = (skip.shape[2] - x.shape[2]) // 2, (skip.shape[3] - x.shape[3]) // 2
            crop = skip[:, :, top : top + x.shape[2], left : left + x.shape[3]]
            x = self.double(torch.cat([crop, x], 1))
        return self.next(x)


LITERAL: dict[str, Callable[[int, int, int], Literal]] = {
    "annotated": Annotated,
    "popular": lambda i, o, w: Popular(i, o, w, bilinear=False),
    "popular_bilinear": lambda i, o, w: Popular(i, o, w, bilinear=True),
    "three_level": ThreeLevel,
    "keras": Keras,
    "valid_batchnorm": ValidBatchNorm,
}


def twin(model: UNet) -> Literal:
    """The literal network with the weights of ours, matched in order and loaded strictly."""
    config = model.config
    other = LITERAL[model.variant](config.in_channels, config.out_channels, config.width)
    theirs, ours = other.state_dict(), model.state_dict()
    assert [v.shape for v in theirs.values()] == [v.shape for v in ours.values()]
    other.load_state_dict(dict(zip(theirs, ours.values(), strict=True)), strict=True)
    return other.eval()
