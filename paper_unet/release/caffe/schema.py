"""The parts of Caffe's messages that are needed here; protobuf skips all others."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from paper_unet.system.libraries import needed

PACKAGE: Final = "paper_unet.release.caffe"

MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "Network": {
        "name": (1, "bytes"),
        "layers": (2, "repeated OldLayer"),
        "layer": (100, "repeated NewLayer"),
    },
    "OldLayer": {  # V1LayerParameter
        "bottom": (2, "repeated bytes"),
        "top": (3, "repeated bytes"),
        "name": (4, "bytes"),
        "type": (5, "int32"),
        "blobs": (6, "repeated Blob"),
        "concat_param": (9, "Concat"),
        "convolution_param": (10, "Convolution"),
        "pooling_param": (19, "Pooling"),
        "relu_param": (30, "ReLU"),
    },
    "NewLayer": {  # LayerParameter
        "name": (1, "bytes"),
        "type": (2, "bytes"),
        "bottom": (3, "repeated bytes"),
        "top": (4, "repeated bytes"),
        "blobs": (7, "repeated Blob"),
        "concat_param": (104, "Concat"),
        "convolution_param": (106, "Convolution"),
        "pooling_param": (121, "Pooling"),
        "relu_param": (123, "ReLU"),
    },
    "Blob": {
        "num": (1, "int32"),
        "channels": (2, "int32"),
        "height": (3, "int32"),
        "width": (4, "int32"),
        # packed floats look like bytes on disk; as bytes they become an array without a loop
        "data": (5, "repeated bytes"),
        "shape": (7, "Shape"),
    },
    "Shape": {"dim": (1, "repeated int64")},
    "Concat": {"concat_dim": (1, "uint32"), "axis": (2, "int32")},
    "Convolution": {
        "pad": (3, "repeated uint32"),
        "group": (5, "uint32"),
        "stride": (6, "repeated uint32"),
        "pad_h": (9, "uint32"),
        "pad_w": (10, "uint32"),
        "stride_h": (13, "uint32"),
        "stride_w": (14, "uint32"),
        "dilation": (18, "repeated uint32"),
    },
    "Pooling": {
        "pool": (1, "int32"),
        "kernel_size": (2, "uint32"),
        "stride": (3, "uint32"),
        "pad": (4, "uint32"),
        "kernel_h": (5, "uint32"),
        "kernel_w": (6, "uint32"),
        "stride_h": (7, "uint32"),
        "stride_w": (8, "uint32"),
        "pad_h": (9, "uint32"),
        "pad_w": (10, "uint32"),
        "global_pooling": (12, "bool"),
    },
    "ReLU": {"negative_slope": (1, "float")},
}
"""Field numbers and kinds, from Caffe's file format; names are bytes, since they may be no text."""


@cache
def network_class() -> Any:
    """Return the message class of a whole network file.

    Raises
    ------
    InputError
        If protobuf is not installed.
    """
    needed("google.protobuf", "reading a .caffemodel", "caffe")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="paper_unet/caffe.proto", package=PACKAGE, syntax="proto2"
    )
    for message, parts in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in parts.items():
            _describe(described.field.add(name=name, number=number), kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Network"))


def _describe(field: Any, kind: str) -> None:
    kind = kind.removeprefix("repeated ") if (many := kind.startswith("repeated ")) else kind
    field.label = field.LABEL_REPEATED if many else field.LABEL_OPTIONAL
    if kind in MESSAGES:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")
