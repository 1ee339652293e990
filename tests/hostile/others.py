"""Pictures, weights, Caffe files and journals that ask for more than they hold."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from tiffs import link, packed_zeros, pipe, unix_socket

from paper_unet import UNet
from paper_unet.networks.tensor_file import write_tensors
from paper_unet.networks.weights_file import describe

Make = Callable[[Path], Path]


def sparse(size: int) -> Make:
    def make(path: Path) -> Path:
        path.touch()
        os.truncate(path, size)
        return path

    return make


def png(columns: int, rows: int, pixels: bytes, *more: tuple[bytes, bytes]) -> Make:
    head = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), *more, (b"IDAT", pixels), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )

    def make(path: Path) -> Path:
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        return path

    return make


PNGS: dict[str, Make] = {
    "png of 2^31 sides": png(2**31 - 1, 2**31 - 1, zlib.compress(b"")),
    "png of 60,000 sides": png(60_000, 60_000, zlib.compress(bytes(1000))),
    "png of 60,000 sides, all there": png(60_000, 60_000, packed_zeros(60_001 * 60_000)),
    "png of no rows": png(64, 0, zlib.compress(b"")),
    "png text bomb": png(
        64, 64, zlib.compress(bytes(65 * 10)), (b"zTXt", b"a\0\0" + packed_zeros(2**30))
    ),
    "png profile bomb": png(
        64, 64, zlib.compress(bytes(65 * 10)), (b"iCCP", b"a\0\0" + packed_zeros(2**30))
    ),
    "png that is a pipe": pipe,
    "png that is a device": link("/dev/zero"),
}


def weights(change: Callable[[dict[str, torch.Tensor], dict[str, object]], object]) -> Make:
    """A file of weights with a right SHA-256 over what was changed."""

    def make(path: Path) -> Path:
        model = UNet(width=1)
        tensors, about = dict(model.state_dict()), describe(model)
        change(tensors, about)
        write_tensors(path, tensors, about)
        return path

    return make


def network(**more: object) -> Make:
    return weights(lambda _, about: about["network"].update(more))  # type: ignore[attr-defined]


def header(text: bytes, length: int | None = None) -> Make:
    def make(path: Path) -> Path:
        path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text)
        return path

    return make


def _described(text: str) -> Make:
    about = json.dumps({"about": text, "sha256": "0"})
    return header(json.dumps({"__metadata__": {"paper_unet-1": about}}).encode())


def _tensor_of_an_exabyte(path: Path) -> Path:
    about = {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 2**62]}
    return header(json.dumps({"a": about}).encode())(path)


WEIGHTS: dict[str, Make] = {
    "weights of width 1000": network(width=1000),
    "weights of width 10^9": network(width=10**9),
    "weights of width 10^400": network(width=10**400),
    "weights of width NaN": network(width=float("nan")),
    "weights of 10^9 channels": network(in_channels=10**9),
    "weights of 4096 classes": network(out_channels=4096),
    "weights with NaN": weights(lambda t, _: t["down3.0.weight"][0, 0].fill_(float("nan"))),
    "weights that are whole numbers": weights(
        lambda t, _: t.update({"head.bias": torch.zeros(2, dtype=torch.int64)})
    ),
    "weights of many levels": _described('{"record": ' + "[" * 10**5 + "]" * 10**5 + "}"),
    "weights with a description of 20 MB": _described('{"record": "' + "x" * 20_000_000 + '"}'),
    "weights of digits": _described('{"network": {"width": ' + "9" * 10**5 + "}}"),
    "weights with a header of 2^63": header(b"{}", 2**63),
    "weights with a tensor of an exabyte": _tensor_of_an_exabyte,
    "weights of 8 GB of nothing": sparse(2**33),
    "weights that are a pipe": pipe,
    "weights that are a device": link("/dev/zero"),
    "weights that are a socket": unix_socket,
    "weights that are a loop": link("in.safetensors"),
}


def _bytes(data: bytes) -> Make:
    def make(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return make


CAFFE: dict[str, Make] = {
    "caffe of 4 GB of nothing": sparse(2**32),
    "caffe of a gigabyte of nothing": sparse(2**30),
    "caffe with a field of 2^62": _bytes(b"\x12" + b"\xff" * 8 + b"\x3f"),
    "caffe of empty layers": _bytes(b"\x12\x00" * 2**22),
    "caffe of shapes": _bytes(b"\xa2\x06\x0c\x3a\x0a\x3a\x08\x0a\x06" + b"\xff" * 5 + b"\x7f"),
    "caffe that is a pipe": pipe,
    "caffe that is a device": link("/dev/zero"),
}


def journal(text: str) -> Make:
    return _bytes(text.encode())


JOURNALS: dict[str, Make] = {
    "a journal of many levels": journal("[" * 10**6 + "\n"),
    "a journal of digits": journal('{"run": ' + "9" * 10**6 + "}\n"),
    "a journal that is a pipe": pipe,
    "a journal that is a device": link("/dev/zero"),
}
