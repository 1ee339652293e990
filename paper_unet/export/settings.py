"""What is to be said of a network when it is exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from paper_unet.settings import check


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Of a package for BioImage.IO; the other formats have no place for them."""

    valid: Annotated[
        bool,
        "the network as the paper has it, whose output is smaller than its input, instead of the "
        "one that mirrors inside; other software cannot cut images into tiles for it",
    ] = False
    title: Annotated[str | None, "name of the model; default: that of the weights"] = None
    author: Annotated[str | None, "who trained the weights"] = None
    licence: Annotated[
        str | None, "of the weights: an SPDX identifier, such as CC-BY-4.0; default: their terms"
    ] = None
    grey_type: Annotated[
        str | None, "type of the images, of those whose grey values the network knows; default: "
        "the one that it learnt from",
    ] = None  # fmt: skip

    def __post_init__(self) -> None:
        check(self)
