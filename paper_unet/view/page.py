"""The page: Neuroglancer's own server and client, with layers that are read from disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from paper_unet.errors import InputError
from paper_unet.images import local_path
from paper_unet.system.libraries import needed
from paper_unet.view.config import ViewConfig
from paper_unet.view.layers import MOST_REDUCED, OF_SEVERAL, Layer

LOOPBACK: Final = "127.0.0.1"
CHUNK_LOG2: Final = 18
"""Voxels that are asked for at once, as a power of 2."""

COLOURS: Final = ("#ff7f0e", "#17becf", "#e377c2", "#bcbd22")
PAGE: Final = 800
"""Pixels that the first view of a section is made for."""

GREY = """#uicontrol invlerp normalized(range=[{low}, {high}])
void main() {{ emitGrayscale(normalized()); }}
"""
TINTED = """#uicontrol invlerp normalized(range=[{low}, {high}])
#uicontrol vec3 color color(default="{colour}")
void main() {{ emitRGBA(vec4(color, normalized())); }}
"""
COLOURED = """#uicontrol invlerp normalized(range=[{low}, {high}])
void main() {{ emitRGB(vec3(normalized(0), normalized(1), normalized(2))); }}
"""


class Page:
    """A page that shows layers until it is closed; use it in a ``with`` statement.

    Parameters
    ----------
    image : str
        The image.
    outputs : sequence of str
        Probabilities and labels, finished or not, in the order in which they are put on it.
    labels : sequence of str
        More of them, of which it is said that they are labels.
    config : ViewConfig, optional
    say : callable
        Takes what a user has to know, line by line.

    Attributes
    ----------
    address : str
        Of the page, on this machine alone; it has a token that nobody can guess.
    served : dict of str to str
        Addresses of folders for Neuroglancer elsewhere, by path.

    Raises
    ------
    InputError
        If the library is not installed, or a layer cannot be read.
    """

    def __init__(
        self,
        image: str,
        outputs: Sequence[str] = (),
        labels: Sequence[str] = (),
        *,
        config: ViewConfig | None = None,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        config = config or ViewConfig()
        library = needed("neuroglancer", "the page", "view")
        self._layers: list[Layer] = []
        self._servers: list[Any] = []
        self._volumes: list[Any] = []
        self.served: dict[str, str] = {}
        self._say = say
        self._said: set[str] = set()
        try:
            self._layers = [Layer(image, "image", config)]
            for path in outputs:
                self._layers.append(Layer(path, None, config))
            for path in labels:
                self._layers.append(Layer(path, "labels", config))
            for name in OF_SEVERAL:
                needed_by = [layer for layer in self._layers if name in layer.chosen]
                if getattr(config, name) is not None and not needed_by:
                    self._layers[0].check_choice(name)
            for layer in self._layers:
                for note in layer.notes:
                    say(note)
            self._start(library, config.port)
            if config.cors:
                self._serve(library, [image, *outputs, *labels])
        except BaseException:
            self.close()
            raise

    def _start(self, library: Any, port: int) -> None:
        from paper_unet.view.volume import StackVolume

        library.set_server_bind_address(LOOPBACK, port)
        try:
            self.viewer = library.Viewer(allow_credentials=False)
        except OSError as error:
            raise InputError(
                f"port {port} cannot be used ({error.strerror or error}); give `port` another "
                "number, or 0"
            ) from error
        self.address: str = self.viewer.get_viewer_url()
        first = self._layers[0]
        colours = iter(COLOURS * len(self._layers))
        with self.viewer.txn() as state:
            state.dimensions = _space(library, first, first)
            for layer in self._layers:
                volume = StackVolume(
                    layer,
                    dimensions=_space(library, layer, first),
                    volume_type="segmentation" if layer.kind == "labels" else "image",
                    max_voxels_per_chunk_log2=CHUNK_LOG2,
                    max_downsampling=MOST_REDUCED * 4 ** (layer.levels - 1),
                )
                self._volumes.append(volume)
                name = _free_name(layer.name, [one.name for one in state.layers])
                state.layers[name] = _shown(library, layer, volume, lambda: next(colours))
            x, y, z = first.shape[:3]
            state.position = [x / 2, y / 2, z // 2 + 0.5]
            state.cross_section_scale = max(x, y) / PAGE
            state.layout = "xy"
            state.show_axis_lines = False

    def _serve(self, library: Any, paths: Sequence[str]) -> None:
        """Serve the folders that Neuroglancer reads by itself, each under a token of its own."""
        from neuroglancer.static_file_server import StaticFileServer

        for path in paths:
            folder = local_path(path)
            if kind := _kind_of_folder(folder):
                server = StaticFileServer(str(folder), bind_address=LOOPBACK, daemon=True)
                self._servers.append(server)
                self.served[path] = f"{kind}://{server.url}"

    def refresh(self) -> bool:
        """Show what runs have written since the last look; return whether there was any."""
        found = False
        for layer, volume in zip(self._layers, self._volumes, strict=True):
            if layer.changed():
                found = True
                volume.invalidate()
            if layer.problem and layer.problem not in self._said:
                self._said.add(layer.problem)
                self._say(f"{layer.problem}; the page keeps what it has, and looks again")
        return found

    @property
    def live(self) -> bool:
        """Whether a run is writing one of the layers."""
        return any(layer.live for layer in self._layers)

    def close(self) -> None:
        """Stop serving, and close the files; calling it twice does no harm."""
        for server in self._servers:
            server.stop()
        self._servers.clear()
        if hasattr(self, "viewer"):
            from neuroglancer import server as running

            running.stop()
        for layer in self._layers:
            layer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _space(library: Any, layer: Layer, first: Layer) -> Any:
    """Return names and sizes of the axes: of the layer itself if known, else of the image."""
    known = layer.pixel_size if None not in layer.pixel_size else first.pixel_size
    _, y, x = known
    lengths = known if None not in (y, x) else (None, None, None)
    # a depth that is not known is taken to be that along x
    sizes = [lengths[2] or 1, lengths[1] or 1, lengths[0] or lengths[2] or 1]
    unit = "" if lengths[2] is None else "um"
    names, scales, units = ["x", "y", "z"], [float(k) for k in sizes], [unit] * 3
    if len(layer.shape) == 4:
        names, scales, units = [*names, "c^"], [*scales, 1.0], [*units, ""]
    return library.CoordinateSpace(names=names, units=units, scales=scales)


def _shown(library: Any, layer: Layer, volume: Any, colour: Callable[[], str]) -> Any:
    """Return how a layer looks."""
    if layer.kind == "labels":
        return library.SegmentationLayer(source=volume, selected_alpha=0.35)
    low, high = layer.greys()
    if layer.dtype.kind in "iu":
        low, high = math.floor(low), math.ceil(high)
    if layer.kind == "image":
        shader = GREY if layer.stack.channels == 1 else COLOURED
        return library.ImageLayer(source=volume, shader=shader.format(low=low, high=high))
    shader = TINTED.format(low=low, high=high, colour=colour())
    return library.ImageLayer(source=volume, shader=shader, opacity=0.4)


def _free_name(name: str, taken: Sequence[str]) -> str:
    """Return a name that no other layer has."""
    found, k = name, 2
    while found in taken:
        found, k = f"{name} ({k})", k + 1
    return found


def _kind_of_folder(folder: Path) -> str | None:
    """Return what Neuroglancer calls the format of a folder; None if it reads none."""
    if (folder / "info").is_file():
        return "precomputed"
    if any((folder / name).is_file() for name in ("zarr.json", ".zattrs", ".zarray")):
        return "zarr"
    return "n5" if (folder / "attributes.json").is_file() else None


def show(page: Page, stop: Callable[[], bool], seconds: float) -> None:
    """Keep a page up to date until it is to stop, looking every so many seconds."""
    due = time.monotonic() + seconds
    while not stop():
        time.sleep(0.1)
        if page.live and time.monotonic() >= due:
            page.refresh()
            due = time.monotonic() + seconds
