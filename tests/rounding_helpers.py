"""What may be asked of sums of floating-point numbers when nobody knows their order.

A kernel adds the products of a convolution in the order that suits the processor, the size of the
maps and the number of threads, with fused multiply-adds or without. So two calls of different
shapes, or on two machines, need not agree in a bit. Two things hold for every order:

- `exact_network`: sums of small integers are exact, so all orders agree in every bit;
- `rounding_bound`: otherwise, how far from the exact scores any order can end.

Both are about kernels that multiply and add, as those of PyTorch and oneDNN do unless one asks for
Winograd's or a Fourier transform.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from paper_unet import UNet

Layer = nn.Conv2d | nn.ConvTranspose2d


def convolutions_of(model: nn.Module) -> list[Layer]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


def exact_network(model: UNet, terms: int, largest: int, seed: int = 0) -> UNet:
    """Give a network weights for which every kernel computes the same bits.

    Each output of a layer is the sum of ``terms`` of its inputs, some of them taken off, and one
    more goes to every second channel as its bias. On an image of integers from 0 to ``largest`` all
    values are integers then, and so is each part of each sum, in whatever order it is taken: no
    part is larger than the sum of the magnitudes of its terms. Passing the magnitudes through
    the network with the magnitudes of its weights (a ReLU changes nothing there, a pool takes the
    largest) bounds them all: m(0) = largest, m(l) = |W(l)| m(l-1) + |b(l)|. While m stays below
    2**p, p the bits of the significand (24 for float32, 53 for float64), all these integers can be
    written exactly, and nothing is ever rounded. This is checked here.
    """
    generator = torch.Generator().manual_seed(seed)
    for k, layer in enumerate(convolutions_of(model)):
        weight = torch.zeros_like(layer.weight)
        up = isinstance(layer, nn.ConvTranspose2d)
        # one row of terms for each output channel, and each place in the block that an
        # up-convolution makes of a pixel
        rows = weight.permute(1, 2, 3, 0).reshape(-1, weight.shape[0]) if up else weight.flatten(1)
        for n, row in enumerate(rows):
            count = min(terms, len(row))
            chosen = torch.randperm(len(row), generator=generator)[:count]
            row[chosen] = 1
            if count > 1 and (n + k) % 2:
                row[chosen[0]] = -1
        if up:
            shape = (weight.shape[1], 2, 2, weight.shape[0])
            rows = rows.view(shape).permute(3, 0, 1, 2)
        layer.weight.data.copy_(rows.reshape(weight.shape))
        assert layer.bias is not None
        layer.bias.data.copy_(torch.arange(len(layer.bias)) % 2)
    bits = {torch.float32: 24, torch.float64: 53}[model.head.weight.dtype]
    magnitudes, seen = copy.deepcopy(model).double().eval(), [float(largest)]
    for layer in convolutions_of(magnitudes):
        layer.weight.data.abs_()
        layer.bias.data.abs_()  # type: ignore[union-attr]
        layer.register_forward_hook(lambda _m, _in, out: seen.append(float(out.max())))
    image = torch.full((1, model.config.in_channels, 188, 188), largest, dtype=torch.float64)
    with torch.no_grad():
        magnitudes(image)
    assert max(seen) < 2**bits
    return model


def rounding_bound(
    model: UNet, image: Tensor, pixel: tuple[int, int, int, int], dtype: torch.dtype
) -> float:
    """How far a score computed in ``dtype`` can be from the exact one, whatever the kernel.

    For one sum: let v = w(1) x(1) + ... + w(n) x(n) + b. In any order each product is rounded once
    at most, and takes part in n additions at most, each of them exact but for a factor of 1 + d,
    |d| <= u, half the distance from 1 to the next number. So the result is off by at most

        g (|w(1) x(1)| + ... + |w(n) x(n)| + |b|),   g = (n + 1) u / (1 - (n + 1) u)

    (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, sec. 3.1). A fused
    multiply-add or a longer register rounds less often.

    For the network: to the score s, an error e of the value v adds e ds/dv, and ReLU, pool, crop
    and copy round nothing. So s is off by no more than the sum of |ds/dv| g(v) magnitude(v) over
    all values v that any convolution puts out. The slopes ds/dv come from one backward pass in
    float64. What this leaves out is of the order of u squared: the slopes' own errors, and the
    slope of a ReLU or pool that an error takes to its other side, which befalls a share of random
    values that is itself of the order of u. The bound counts many thousands of roundings, and all
    of them would have to be the largest and of the worst sign to reach it.

    (Magnitudes sent through the network as in `exact_network` bound it, too, without slopes; but 23
    layers of worst signs make that some 1e17 times the scores of random weights.)

    Parameters
    ----------
    image : Tensor, shape (1, C, H, W)
    pixel : (0, class, row, column)
        The score.
    dtype : torch.dtype
        Of the arithmetic that the bound is for.

    Returns
    -------
    float
        For one computation; two of them differ by twice as much at most.
    """
    values: list[tuple[Tensor, Tensor, int]] = []

    def note(layer: nn.Module, arguments: tuple[Tensor], out: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None
        maps = arguments[0].detach().abs()
        weight, bias = layer.weight.detach().abs(), layer.bias.detach().abs()
        if isinstance(layer, nn.ConvTranspose2d):
            magnitudes = functional.conv_transpose2d(maps, weight, bias, layer.stride)
            terms = layer.in_channels  # its blocks of 2 x 2 do not overlap
        else:
            magnitudes = functional.conv2d(maps, weight, bias)
            terms = weight[0].numel()
        out.retain_grad()
        values.append((out, magnitudes, terms))

    with torch.inference_mode(False), torch.enable_grad():
        slopes = copy.deepcopy(model).double().eval()
        for module in slopes.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_hook(note)
            elif isinstance(module, nn.ReLU):
                module.inplace = False  # the slopes before it are wanted
        slopes(image.clone().double())[pixel].backward()
    unit, total = torch.finfo(dtype).eps / 2, 0.0
    for out, magnitudes, terms in values:
        assert out.grad is not None
        g = (terms + 1) * unit / (1 - (terms + 1) * unit)
        total += g * float((out.grad.abs() * magnitudes).sum())
    return total


def within_rounding(model: UNet, image: Tensor, found: Tensor, expected: Tensor) -> bool:
    """Whether the largest difference of two ways to compute scores is one that rounding makes.

    Parameters
    ----------
    image : Tensor, shape (1, C, H, W)
        What the network was given, with its context.
    found, expected : Tensor of one dtype, shape (1, K, rows, columns)
        The scores of all of it or of its first rows and columns.
    """
    if torch.equal(found, expected):
        return True
    difference = (found - expected).abs()
    _, k, y, x = (int(i) for i in torch.unravel_index(difference.argmax(), found.shape))
    bound = rounding_bound(model, image, (0, k, y, x), expected.dtype)
    return float(difference.max()) <= 2 * bound
