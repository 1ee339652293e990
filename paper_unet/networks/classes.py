"""How many classes a network tells apart, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping

from paper_unet.networks.base import Network


def class_count(model: Network) -> int:
    """Return how many classes a network tells apart: one score is a logit, of two."""
    return max(model.config.out_channels, 2)


def class_names(model: Network) -> tuple[str, ...]:
    """Return what the classes of a network are called, from class 0.

    What its record has as ``class_names``. Else, of two, those of a training on cells: membranes
    or background, and cells; unless the record says that it told classes apart. Else numbers.
    """
    count = class_count(model)
    names = model.record.get("class_names")
    if isinstance(names, list) and len(names) == count and all(isinstance(n, str) for n in names):
        return tuple(" ".join(name.split()) or f"class {k}" for k, name in enumerate(names))
    config = model.record.get("config")
    kind = config.get("label_kind") if isinstance(config, Mapping) else None
    if count == 2 and kind != "class":
        return ("membrane" if kind == "membrane" else "background", "cell")
    return tuple(f"class {k}" for k in range(count))


def output_names(model: Network) -> list[str]:
    """Return what the probabilities of a network are of, one for each score: of a logit class 1."""
    return list(class_names(model)[-model.config.out_channels :])
