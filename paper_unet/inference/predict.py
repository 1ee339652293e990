"""Prediction in memory: images and stacks of any size, mirrored at their edges (sec. 1, Fig. 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from paper_unet.errors import InputError, naming
from paper_unet.geometry import PAPER_TILE, Tiling
from paper_unet.images import Stack
from paper_unet.inference.in_memory import InMemory, as_array
from paper_unet.inference.readout import Readout
from paper_unet.inference.settings import (
    Average,
    Classes,
    Engine,
    InferenceSettings,
    Precision,
    check_dtype_of_argmax,
)
from paper_unet.inference.streaming import Streaming
from paper_unet.inference.tiled import Tiled
from paper_unet.networks.base import Network
from paper_unet.networks.classes import class_count
from paper_unet.system.progress import progress_bar

OutputDtype = Literal["float32", "uint8", "uint16"]


def engine_for(
    model: Network,
    settings: InferenceSettings,
    precision: Precision = "float32",
    band: int | None = None,
    device: torch.device | None = None,
) -> Streaming | Tiled:
    """Return what computes a network's scores; here alone is asked whether to stream or to tile.

    Parameters
    ----------
    model : Network
        Stays as it is, in whatever mode it is in.
    settings : InferenceSettings
    precision : {"float32", "tf32", "bfloat16", "float16"}
        Of weights and maps.
    band : int, optional
        Rows that enter the network at a time when streaming, pixels, a multiple of 16; default:
        what is best for the device.
    device : torch.device, optional
        To plan for; default: where the network is. Nothing is computed elsewhere.

    Raises
    ------
    InputError
        If the settings or the precision are none that the network has.
    """
    network = model.for_prediction()
    if network.streams and settings.engine == "stream":
        return Streaming(network, settings, precision, band, device)
    return Tiled(network, settings, precision, device)


class Slices(Protocol):
    """A stack that gives one section at a time, such as an ndarray or an open TIFF."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X)."""

    def __getitem__(self, z: int, /) -> NDArray[np.generic]: ...


class Sink(Protocol):
    """Takes one section at a time, such as an ndarray or an open `StackWriter`."""

    def __setitem__(self, z: int, section: NDArray[Any], /) -> None: ...


def predict_image(
    model: Network,
    image: NDArray[np.generic],
    *,
    engine: Engine = "stream",
    tile: int = PAPER_TILE,
    tiling: Tiling = "exact",
    average: Average = "none",
    halo: int | None = None,
    precision: Precision = "float32",
    value_range: tuple[float, float] | None = None,
    of_class: int | None = None,
    all_classes: bool = False,
    argmax: bool = False,
    dtype: OutputDtype = "float32",
) -> NDArray[Any]:
    """Return the probability of a class, or of all, at every pixel of an image.

    Parameters
    ----------
    model : Network
        Used in evaluation mode, on the device where it is.
    image : ndarray, shape (Y, X), or (C, Y, X) for a network of C > 1 channels
        Any size from 1 x 1. uint8 is divided by 255; uint16 needs a range; floats must be in
        [0, 1] unless a range is given.
    engine : {"stream", "tiles"}
        ``stream`` lets the rows of the image flow through the network, nothing computed twice;
        ``tiles`` is the overlap-tile strategy of Fig. 2. The same result up to rounding. Networks
        other than the paper's and the release do not stream and are always tiled.
    tile : int
        Largest input side of a tile, pixels, 16k + 60, for the engine ``tiles``; others use the
        largest side that fits them and is no larger.
    tiling : {"exact", "abutting"}
        ``exact`` equals one pass over the whole mirrored image; ``abutting``, for the engine
        ``tiles``, is the paper's grid of outputs side by side. See `paper_unet.geometry`.
    average : {"none", "flips", "rotations"}
        Mean of the raw scores over the four flips of the image (the authors' release), or over
        seven rotations by multiples of 360/7 degrees (sec. 4; the angles are open in the paper).
    halo : int, optional
        Of networks with zero padding: pixels of the scores that are dropped on each side of a tile
        inside the image, a multiple of 16; default: as far as a pixel sees. See
        `paper_unet.inference.seams`.
    precision : {"float32", "tf32", "bfloat16", "float16"}
        Of the arithmetic; float32 is the reference. tf32 takes the tensor cores of a GPU, which
        round the factors of products to 10 bits; elsewhere it is float32.
    value_range : (float, float), optional
        Grey values that mean 0 and 1; default: the model's own for the image's dtype.
    of_class : int, optional
        Whose probability it is, from 0; default: the last one's.
    all_classes : bool
        Return the probability of every class.
    argmax : bool
        Return the number of the most probable class, from 0; of several that are, the first.
    dtype : {"float32", "uint8", "uint16"}
        Of the result: the probability as it is, or times 255 or 65535 and rounded.

    Returns
    -------
    ndarray, shape (Y, X); (K, Y, X) of all classes
        In [0, 1] as float32; for the usual two classes, the probability of a cell. Of ``argmax``
        uint8.

    Raises
    ------
    InputError
        If the image is empty, of the wrong shape or dtype, or holds values that are not finite.
    """
    settings = InferenceSettings(
        engine=engine, tile=tile, tiling=tiling, average=average, halo=halo
    )
    readout = _readout(model, of_class, all_classes, argmax, dtype)
    scorer = engine_for(model, settings, precision)
    return next(InMemory(model, scorer, value_range, readout)([(None, image)]))


def predict_stack(
    model: Network,
    stack: Slices | Sequence[Any],
    out: Sink | None = None,
    *,
    engine: Engine = "stream",
    tile: int = PAPER_TILE,
    tiling: Tiling = "exact",
    average: Average = "none",
    halo: int | None = None,
    precision: Precision = "float32",
    value_range: tuple[float, float] | None = None,
    of_class: int | None = None,
    all_classes: bool = False,
    argmax: bool = False,
    dtype: OutputDtype = "float32",
    progress: bool = False,
) -> NDArray[Any] | Sink:
    """Predict a stack section by section, as `predict_image` does one image.

    For stacks that do not fit in memory, for resuming and for clusters see
    `paper_unet.large.predict_file`.

    Parameters
    ----------
    model : Network
    stack : array-like, shape (Z, Y, X), or (Z, C, Y, X) for a network of C > 1 channels
        Anything that gives a section when indexed: an ndarray, a memory map, an array of Zarr or
        HDF5, `open_stack`. Of what has no shape, such as a list, an array is made first.
    out : array-like, shape (Z, Y, X) or (Z, K, Y, X), optional
        Takes each section by assignment, (Y, X) or (K, Y, X), in a dtype that holds every value of
        ``dtype``, or float16; default: a new ndarray.
    engine, tile, tiling, average, halo, precision, value_range, of_class, all_classes, argmax
        As in `predict_image`.
    dtype
        As in `predict_image`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ndarray, shape (Z, Y, X), (K, Z, Y, X) of all classes, or ``out``
        Probabilities of the class, as `predict_image` gives them.

    Raises
    ------
    InputError
        As `predict_image`; the message names the section. If ``out`` has another shape, or a dtype
        that cannot hold the values.
    """
    stack = cast(Slices, stack if hasattr(stack, "shape") else as_array(stack, "the stack"))
    colour = model.config.in_channels > 1
    opened = isinstance(stack, Stack) and colour  # whose shape is without the channels
    if len(stack.shape) != (4 if colour and not opened else 3):
        wanted = f"(Z, {model.config.in_channels}, Y, X)" if colour else "(Z, Y, X)"
        raise InputError(f"the stack has shape {stack.shape}; {wanted} is needed")
    readout = _readout(model, of_class, all_classes, argmax, dtype)
    settings = InferenceSettings(
        engine=engine, tile=tile, tiling=tiling, average=average, halo=halo
    )
    scorer = engine_for(model, settings, precision)
    if isinstance(stack, Stack):
        value_range = stack.value_range(value_range)
    kinds = (class_count(model),) if all_classes else ()
    size = (*kinds, stack.shape[0], *stack.shape[-2:])
    if out is not None:
        _check_out(out, (stack.shape[0], *kinds, *stack.shape[-2:]), readout.dtype)
    result = np.empty(size, readout.dtype) if out is None else out
    target: Any = np.asarray(result).swapaxes(0, 1) if out is None and kinds else result
    sections = InMemory(model, scorer, value_range, readout)(_named(stack))
    for z, section in enumerate(
        progress_bar(sections, total=stack.shape[0], unit="section", show=progress)
    ):
        target[z] = section
    return result


def _check_out(out: Sink, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse what would broadcast, wrap or cut what is assigned to it, where it says what it is."""
    found, kind = getattr(out, "shape", shape), getattr(out, "dtype", dtype)
    if tuple(found) != shape:
        raise InputError(f"out has shape {tuple(found)}; {shape} is needed")
    holds = np.can_cast(dtype, kind) or (dtype.kind == "f" and np.dtype(kind).kind == "f")
    if not holds:
        raise InputError(f"out is {kind}; it has to hold {dtype}, which `dtype` chooses")


def _named(stack: Slices) -> Iterator[tuple[str, NDArray[Any]]]:
    for z in range(stack.shape[0]):
        with naming(f"section {z}"):
            image = as_array(stack[z], "it")
        yield f"section {z}", image


def _output_dtype(name: OutputDtype) -> np.dtype[Any]:
    if name not in get_args(OutputDtype):
        accepted = ", ".join(get_args(OutputDtype))
        raise InputError(f"dtype is {name!r}; accepted are {accepted}")
    return np.dtype(name)


def _readout(
    model: Network, of_class: int | None, all_classes: bool, argmax: bool, dtype: OutputDtype
) -> Readout:
    classes = wanted_classes(of_class, all_classes, argmax)
    check_class(model, of_class, classes)
    stored = _output_dtype(dtype)
    if argmax:
        check_dtype_of_argmax(dtype)
        stored = np.dtype(np.uint8)
    return Readout(model.sigmoid, of_class, stored, classes)


def wanted_classes(of_class: int | None, all_classes: bool, argmax: bool) -> Classes:
    """Return what is wanted of the classes; raise InputError if that is more than one thing."""
    given = {"of_class": of_class is not None, "all_classes": all_classes, "argmax": argmax}
    names = [f"`{name}`" for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise InputError(f"{' and '.join(names)} are given; give one of them")
    return "argmax" if argmax else "all" if all_classes else "one"


def check_class(model: Network, of_class: int | None, classes: Classes = "one") -> None:
    """Raise InputError unless the network has what is wanted; None is the last class."""
    count = class_count(model)
    if classes == "argmax" and count > 256:
        raise InputError(f"the network has {count} classes; a label image of uint8 has 256")
    if of_class is not None and (not 0 <= of_class < count or of_class != int(of_class)):
        raise InputError(f"no class {of_class}; the network has {count}, from 0 to {count - 1}")
