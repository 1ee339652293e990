"""What import-caffe takes, writes, and refuses by one line."""

from __future__ import annotations

import hashlib
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from caffe_helpers import (
    Spec,
    as_trained,
    blob,
    caffemodel,
    chunk,
    network,
    number,
    old_layer,
    varint,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.model import UNet
from paper_unet.networks.weights_file import load_model
from paper_unet.release.caffe import frame, import_caffe, reader, schema

LAYERS = network(2)
BINARY = caffemodel(LAYERS)


def refused(folder: Path, binary: bytes, capsys: pytest.CaptureFixture[str]) -> str:
    """Import a file that must end with 2, one line, and nothing written; return the line."""
    source, out = folder / "net.caffemodel", folder / "net.safetensors"
    source.write_bytes(binary)
    assert main(["import-caffe", str(source), "-o", str(out)]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == ""
    assert line.startswith(f"paper-unet: {source}: ")
    assert line.isprintable()
    assert sorted(path.name for path in folder.iterdir()) == ["net.caffemodel"]
    return line


def read(folder: Path, binary: bytes) -> UNet:
    path = folder / "net.caffemodel"
    path.write_bytes(binary)
    return import_caffe(path)


def named(name: str, layers: list[Spec] = LAYERS) -> Spec:
    return next(layer for layer in layers if layer.name == name)


def changed(name: str, **changes: object) -> list[Spec]:
    return [one.but(**changes) if one.name == name else one for one in LAYERS]


# --- what is taken --------------------------------------------------------------------------------


def test_import_writes_the_network_and_says_where_it_came_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "phseg_v5.caffemodel", tmp_path / "phseg_v5.SafeTensors"
    source.write_bytes(caffemodel(as_trained(LAYERS)))
    assert main(["import-caffe", str(source), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "23 layers, width 2" in said
    assert "no licence" in said
    model = load_model(out)
    assert model.config == UNet.release(width=2).config
    assert model.grey_ranges == {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}
    origin = model.record["origin"]
    assert isinstance(origin, dict)
    assert origin["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (origin["file"], origin["network"]) == ("phseg_v5.caffemodel", "phseg_v5")
    assert origin["wiring"] == "checked"
    assert origin["layers"]["conv_u3b-c"] == "up3.0"
    assert len(origin["layers"]) == 23
    assert "no licence" in str(model.record["terms"])

    before = out.read_bytes()
    assert main(["import-caffe", str(source), "-o", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["import-caffe", str(source), "-o", str(out), "--overwrite"]) == 0
    assert out.read_bytes() == before


def test_old_new_split_and_bare_files_give_the_same_network(tmp_path: Path) -> None:
    expected = read(tmp_path, BINARY).state_dict()
    bare = [one.but(bottoms=(), tops=()) for one in LAYERS if one.blobs]
    for layers, new in ((as_trained(LAYERS), False), (LAYERS, True), (bare, False), (bare, True)):
        model = read(tmp_path, caffemodel(layers, new=new))
        assert all((value == expected[name]).all() for name, value in model.state_dict().items())
        wired = "not in the file" if layers is bare else "checked"
        assert model.record["origin"]["wiring"] == wired  # type: ignore[index]


def test_the_order_of_layers_with_weights_alone_does_not_matter(tmp_path: Path) -> None:
    bare = [one.but(bottoms=(), tops=()) for one in LAYERS if one.blobs]
    expected = read(tmp_path, BINARY).state_dict()
    model = read(tmp_path, caffemodel(reversed(bare)))
    assert all((value == expected[name]).all() for name, value in model.state_dict().items())


# --- truncated, damaged, no Caffe file ------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999, 1.0])
def test_a_truncated_file_is_refused(
    share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(tmp_path, BINARY[: int(share * (len(BINARY) - 1))], capsys)


def test_a_file_truncated_between_two_layers_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in range(len(LAYERS)):
        line = refused(tmp_path, caffemodel(LAYERS[:count]), capsys)
        assert "has no layer" in line if count else "holds no layers" in line


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(BINARY) - 1))
def test_a_file_truncated_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path_factory.getbasetemp(), BINARY[:length])
    assert str(error.value).isprintable()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(BINARY) - 1), st.integers(0, 255)), max_size=4))
def test_a_damaged_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]]
) -> None:
    binary = bytearray(BINARY)
    for place, value in damage:
        binary[place] = value
    try:
        model = read(tmp_path_factory.getbasetemp(), bytes(binary))
    except InputError as error:
        assert str(error).isprintable()  # one line
    else:
        assert all(value.isfinite().all() for value in model.state_dict().values())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=30))
def test_garbage_is_refused(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, inside: bytes
) -> None:
    layer = chunk(2, chunk(4, inside) + chunk(6, garbage))
    for binary in (
        garbage,
        layer,
        chunk(100, garbage),
        chunk(2, garbage),
        chunk(2, inside) + layer,
    ):
        with pytest.raises(InputError) as error:
            read(tmp_path_factory.getbasetemp(), binary)
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 64, b"\xff" * 64, b"PK\x03\x04" * 9, b"\x80\x02}."]
)
def test_files_of_other_kinds_are_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no .caffemodel" in refused(tmp_path, content, capsys)


# --- another network ------------------------------------------------------------------------------

KERNELS, BIASES = named("conv_d1a-b").blobs
SKIP_FIRST = {"bottoms": ("d3cc", "u3a")}
NAN = BIASES.copy()
NAN[1] = np.nan
INFINITE = KERNELS.copy()
INFINITE[0, 0, 0, 0] = np.inf
EXTRA = Spec("power", "batch_norm\n\x1b[31m", ("d0b",), ("d0b",), (BIASES,))
WITHOUT_RELU = [one for one in LAYERS if one.name != "relu_u3a"]
SCALED = [Spec("power", "scale", ("data",), ("data",)), *LAYERS]
SCORES_CUT = [*LAYERS, Spec("relu", "relu_score", ("score",), ("score",))]

OTHERS: list[tuple[str, list[Spec], str]] = [
    ("missing", [one for one in LAYERS if one.name != "conv_u1b-c"], "no layer conv_u1b-c; 1 of"),
    ("another network", [Spec("conv", "c", ("data",), ("c",), (KERNELS,))], "conv_d0a-b; 23 of"),
    ("doubled", [*LAYERS, named("conv_d2a-b")], "two layers 'conv_d2a-b'"),
    ("one more", [*LAYERS, EXTRA], "'batch_norm\\n\\x1b[31m' has weights"),
    ("kernels 5x5", changed("conv_d1a-b", blobs=(np.zeros((4, 2, 5, 5), "f4"), BIASES)),
     "conv_d1a-b: weight of shape (4, 2, 5, 5), needed is (4, 2, 3, 3)"),
    ("another width", changed("conv_d1a-b", blobs=(np.zeros((8, 2, 3, 3), "f4"), BIASES)),
     "conv_d1a-b: weight of shape (8, 2, 3, 3)"),
    ("biases", changed("conv_d1a-b", blobs=(KERNELS, np.zeros(3, "f4"))),
     "conv_d1a-b: bias of shape (3,), needed is (4,)"),
    ("biases 2x2", changed("conv_d1a-b", blobs=(KERNELS, np.zeros((2, 2), "f4"))), "bias of shape"),
    ("no biases", changed("conv_d1a-b", blobs=(KERNELS,)), "has 1 arrays of weights"),
    ("paper's last up-convolution", changed(
        "upconv_u1d_u0a", blobs=(np.zeros((4, 2, 2, 2), "f4"), np.zeros(2, "f4"))),
     "upconv_u1d_u0a: weight of shape (4, 2, 2, 2), needed is (4, 4, 2, 2)"),
    ("no up-convolution", changed("upconv_u3d_u2a", kind="conv"), "'convolution', needed"),
    ("padded", changed("conv_d0b-c", settings={"pad": 1}), "conv_d0b-c has pad (1, 1)"),
    ("stride", changed("conv_d0b-c", settings={"stride": 2}), "conv_d0b-c has stride (2, 2)"),
    ("dilated", changed("conv_d0b-c", settings={"dilation": 2}), "conv_d0b-c has dilation 2"),
    ("grouped", changed("conv_d0b-c", settings={"group": 2}), "conv_d0b-c has group 2"),
    ("no stride", changed("upconv_d4c_u3a", settings={"stride": 1}), "upconv_d4c_u3a has stride"),
    ("skip first", changed("concat_d3cc_u3a-b", **SKIP_FIRST), "what enters layer conv_u3b-c"),
    ("added up", changed("concat_d3cc_u3a-b", settings={"axis": 2}), "enters layer conv_u3b-c"),
    ("no ReLU", WITHOUT_RELU, "what enters layer conv_u3b-c is 'upconv_d4c_u3a + conv"),
    ("leaky ReLU", changed("relu_d0b", settings={"slope": 0.1}), "what enters layer conv_d0b-c"),
    ("mean pool", changed("pool_d0c-1a", settings={"pool": 1, "kernel_size": 2, "stride": 2}),
     "what enters layer conv_d1a-b is 'conv_d0b-c > relu > pooling'"),
    ("3x3 pool", changed("pool_d0c-1a", settings={"pool": 0, "kernel_size": 3, "stride": 2}),
     "what enters layer conv_d1a-b"),
    ("no skip", changed("concat_d3cc_u3a-b", bottoms=("u3a", "u3a")), "enters layer conv_u3b-c"),
    ("scaled image", SCALED, "what enters layer conv_d0a-b is 'image > type 26'"),
    ("scores cut", SCORES_CUT, "what enters layer score is 'conv_u0d-score > relu'"),
    ("NaN", changed("conv_d1a-b", blobs=(KERNELS, NAN)), "conv_d1a-b': 1 of 4 weights are NaN"),
    ("infinite", changed("conv_d1a-b", blobs=(INFINITE, BIASES)), "1 of 72 weights are NaN or inf"),
    ("too wide", changed("conv_d0a-b", blobs=(np.zeros((1025, 1, 3, 3), "f4"), BIASES)),
     "conv_d0a-b: weights of shape (1025, 1, 3, 3)"),
    ("flat", changed("conv_d0a-b", blobs=(np.zeros((2, 1, 9), "f4"), BIASES)), "d0a-b: weight"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "says"), [case[1:] for case in OTHERS], ids=[c[0] for c in OTHERS]
)
def test_another_network_is_refused_and_what_differs_is_said(
    layers: list[Spec], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(tmp_path, caffemodel(layers), capsys)


def test_a_new_style_file_of_another_network_is_refused_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for layers, says in (
        (WITHOUT_RELU, "conv_u3b-c"),
        (changed("conv_d0b-c", kind="power"), "'power'"),
    ):
        assert says in refused(tmp_path, caffemodel(layers, new=True), capsys)


# --- hostile --------------------------------------------------------------------------------------


def with_blob(content: bytes) -> bytes:
    """The network, its first layer's kernels replaced."""
    first = LAYERS[0].but(blobs=())
    layer = old_layer(first) + chunk(6, content) + chunk(6, blob(LAYERS[0].blobs[1]))
    return chunk(2, layer) + caffemodel(LAYERS[1:])


FEW = np.ones(18, np.float32)
HOSTILE_SHAPES = {
    "more than there is": (
        (2, 1, 3, 4),
        "72 bytes of float32 weights, and shape (2, 1, 3, 4) needs",
    ),
    "a product beyond 64 bits": ((2**31 - 1,) * 4, "72 bytes of float32 weights"),
    "a product that wraps to what is there": ((2**30, 2**30, 2**2, 18), "72 bytes of float32"),
    "negative": ((-2, -1, 3, 3), "sides from 1"),
    "nothing": ((0, 1, 3, 3), "sides from 1"),
}


@pytest.mark.parametrize(("sides", "says"), HOSTILE_SHAPES.values(), ids=HOSTILE_SHAPES.keys())
@pytest.mark.parametrize("new", [False, True], ids=["old", "new"])
def test_hostile_shapes_are_refused(
    sides: tuple[int, ...], says: str, new: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(tmp_path, with_blob(blob(FEW, new=new, sides=sides)), capsys)


def test_weights_that_are_not_what_they_say_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = b"".join(number(k + 1, side) for k, side in enumerate((2, 1, 3, 3)))
    doubles = good + chunk(8, np.ones(18).tobytes())
    unpacked = good + b"".join(varint(5 << 3 | 5) + b"\0\0\0\0" for _ in range(18))
    half = good + chunk(5, b"\0" * 71)
    both = chunk(7, chunk(1, bytes([18, 1, 1, 1]))) + blob(FEW, sides=(2, 1, 3, 3))
    many = chunk(7, chunk(1, b"\x01" * 9)) + chunk(5, b"\0" * 4)
    for content, says in (
        (doubles, "0 bytes of float32"), (unpacked, "0 bytes of float32"), (half, "71 bytes"),
        (both, "of shape (2, 1, 3, 3) and (18, 1, 1, 1)"), (many, "sides from 1"),
        (b"", "shape ()"),
    ):  # fmt: skip
        assert says in refused(tmp_path, with_blob(content), capsys)


def test_data_in_several_packed_pieces_is_one_array(tmp_path: Path) -> None:
    kernels = LAYERS[0].blobs[0]
    values = kernels.tobytes()
    sides = b"".join(number(k + 1, side) for k, side in enumerate(kernels.shape))
    model = read(tmp_path, with_blob(sides + chunk(5, values[:20]) + chunk(5, values[20:])))
    np.testing.assert_array_equal(model.state_dict()["down0.0.weight"].numpy(), kernels)


MANY, LONG = 2**18, 3 * 2**20
BOMBS = {
    "empty layers": b"\x12\x00" * MANY,
    "empty new layers": chunk(100, b"") * MANY,
    "empty blobs": chunk(2, b"\x32\x00" * MANY),
    "empty names": chunk(2, b"\x12\x00" * MANY),
    "one long name": chunk(2, chunk(4, b"x" * LONG)),
    "many sides": chunk(2, chunk(6, chunk(7, chunk(1, b"\x01" * LONG)))),
    "single floats": chunk(2, chunk(6, b"\x2d\0\0\0\0" * MANY)),
    "unknown fields": number(999, 1) * MANY,
    "groups": b"\x13" * MANY,
}


@pytest.mark.parametrize("binary", BOMBS.values(), ids=BOMBS.keys())
def test_files_that_would_grow_in_memory_are_refused_before_they_are_parsed(
    binary: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(reader, "network_class")  # to parse would be a NameError
    refused(tmp_path, binary, capsys)


def test_a_map_that_is_joined_with_itself_over_and_over_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = Spec("power", "start", ("data",), ("m0",))
    joins = [Spec("concat", f"j{k}", (f"m{k}",) * 2, (f"m{k + 1}",)) for k in range(100)]
    layers = [start, *joins, LAYERS[0].but(bottoms=("m100",)), *LAYERS[1:]]
    line = refused(tmp_path, caffemodel(layers), capsys)
    assert "what enters layer conv_d0a-b" in line
    assert len(line) < 500


def test_a_file_beyond_the_limit_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.caffemodel"
    with path.open("wb") as file:
        file.truncate(reader.LARGEST_FILE + 1)  # sparse
    tracemalloc.start()
    assert main(["import-caffe", str(path), "-o", str(tmp_path / "n.safetensors")]) == 2
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "1073741825 bytes, accepted are 1073741824" in capsys.readouterr().err
    assert peak < 2**25
    monkeypatch.setattr(reader, "LARGEST_FILE", len(BINARY))
    read(tmp_path, BINARY)  # the limit itself is accepted


def test_both_styles_in_one_file_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binary = BINARY + caffemodel(LAYERS, new=True)
    assert "layers of the old style and" in refused(tmp_path, binary, capsys)


def test_the_frame_allows_names_and_settings_up_to_its_limit() -> None:
    limit = frame.MOST_BESIDE_WEIGHTS
    content = limit - frame.LEAST_OF_A_FIELD
    frame.check_frame(chunk(1, b"x" * content))
    with pytest.raises(InputError, match="names and settings"):
        frame.check_frame(chunk(1, b"x" * (content + 1)))
    frame.check_frame(chunk(2, chunk(6, chunk(5, b"x" * 2 * limit))))  # weights may be long


# --- what a user gets wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "out", "says"),
    [
        ("none.caffemodel", "n.safetensors", "no such file"),
        (".", "n.safetensors", "is a folder, a regular file is needed"),
        ("net.caffemodel", "n.pt", "end the name in that"),
        ("net.caffemodel", "no/n.safetensors", "does not exist"),
        ("net.caffemodel", "folder.safetensors", "is a folder"),
        ("net.caffemodel", "net.safetensors", "is the input"),
    ],
)
def test_unusable_names_are_refused(
    source: str, out: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.caffemodel").write_bytes(BINARY)
    (tmp_path / "net.safetensors").symlink_to(tmp_path / "net.caffemodel")
    (tmp_path / "folder.safetensors").mkdir()
    assert main(["import-caffe", str(tmp_path / source), "-o", str(tmp_path / out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert (tmp_path / "net.caffemodel").read_bytes() == BINARY


def test_without_protobuf_one_line_names_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.network_class.cache_clear()
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    assert "needs protobuf, which is not installed" in refused(tmp_path, BINARY, capsys)
