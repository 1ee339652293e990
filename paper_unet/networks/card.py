"""A model card, in Markdown, written from what is stored beside the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from paper_unet.errors import shown
from paper_unet.metrics.table import METRICS
from paper_unet.networks.base import Network
from paper_unet.networks.classes import output_names

PAPER: Final = (
    "Ronneberger, Fischer and Brox: U-Net: Convolutional Networks for Biomedical Image "
    "Segmentation. MICCAI 2015, LNCS 9351, 234-241"
)
PAPER_DOI: Final = "10.1007/978-3-319-24574-4_28"

MARKUP: Final = {"|": "/", "<": "&lt;", "`": "'", "[": "&#91;", "]": "&#93;"}
"""What would be more than text in a table: columns, tags, code, links and pictures."""

UNKNOWN_TERMS: Final = "Not stated. Ask whoever trained them, and whose images they learnt from."


def published(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a record others may see: no path of the machine that trained.

    Which weights a training started from stays known, by their SHA-256.
    """
    config = record.get("config")
    if not isinstance(config, Mapping):
        return dict(record)
    shown = {key: v for key, v in config.items() if key != "start" or v is None}
    return {**record, "config": shown}


def input_words(model: Network) -> str:
    """Return in words how grey values become the input of a network."""
    ranges = ", ".join(
        f"{name} {low:g} to {high:g}" for name, (low, high) in sorted(model.grey_ranges.items())
    )
    if percentiles := percentiles_of(model):
        low, high = percentiles
        ranges = f"percentiles {low:g} and {high:g} of the stack, as in training, for every type"
    channels = model.config.in_channels
    what = "one channel" if channels == 1 else f"{channels} channels"
    return f"{what}; grey values (v - low) / (high - low), within [0, 1]; low and high: {ranges}"


def percentiles_of(model: Network) -> tuple[float, float] | None:
    """Return the percentiles that the grey values of the training were scaled by, if any were."""
    scaling = model.record.get("scaling")
    found = scaling.get("percentiles") if isinstance(scaling, Mapping) else None
    if not isinstance(found, list | tuple) or len(found) != 2:
        return None
    return float(found[0]), float(found[1])


def model_card(model: Network, title: str, terms: str = "") -> str:
    """Return the card of a network.

    Parameters
    ----------
    model : Network
    title : str
        Its heading.
    terms : str
        Of the weights; empty if not known.

    Returns
    -------
    str
        Markdown: what it is, how it was trained, its scores, its terms, whom to cite.
    """
    parts = [f"# {_cell(title)}", "\n".join(_facts(model)), *_scores(model.record)]
    recipe = published(model.record).get("config")
    if isinstance(recipe, Mapping) and recipe:
        rows = [f"| {_cell(key)} | {_cell(value)} |" for key, value in sorted(recipe.items())]
        parts.append("\n".join(["## Training", "", "| setting | value |", "|---|---|", *rows]))
    parts += [
        f"## Terms\n\n{_cell(terms or UNKNOWN_TERMS, 2000)}",
        "## Limits\n\nIt knows images like those that it was trained on: tissue, stain, resolution "
        "and microscope. Probabilities are not calibrated: choose the threshold on labelled images "
        "of your own.",
        f"## Cite\n\n{PAPER}, doi:{PAPER_DOI}",
    ]
    return "\n\n".join(parts) + "\n"


def _facts(model: Network) -> Iterator[str]:
    config = model.config
    count = sum(value.numel() for value in model.parameters())
    yield from ("| | |", "|---|---|")
    yield f"| network | {_cell(model.variant)}, width {config.width}, {count:,} parameters |"
    yield f"| classes | {_cell(', '.join(output_names(model)), 400)} |"
    yield f"| input | {_cell(input_words(model), 400)} |"
    if model.centre:
        yield f"| centre | {model.centre:g} is subtracted from the input |"
    lost = model.context.lost
    lacks = f"; the output lacks {lost} pixels on each side" if lost else ""
    yield f"| sides | {model.context.sides}{lacks} |"
    for key in ("data", "sections", "steps", "device", "torch", "start_sha256"):
        if key in model.record:
            yield f"| {key} | {_cell(model.record[key], 400)} |"


def _scores(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the scores that a record has, wherever in it they are, as a table."""
    found = list(_scored(record, ""))
    if not found:
        yield "## Validation\n\nNo scores are stored with the weights."
        return
    names = [name for name in METRICS if any(name in scores for _, scores in found)]
    heads = ["scored on", *(str(METRICS[name]) for name in names)]
    lines = ["## Validation", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for where, scores in found:
        values = (scores.get(name) for name in names)
        cells = (f"{value:.4f}" if isinstance(value, float) else "" for value in values)
        lines.append(f"| {_cell(where)} | {' | '.join(cells)} |")
    lines += ["", "Each metric at its own best threshold."]
    yield "\n".join(lines)


def _scored(record: Mapping[str, Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, value in record.items():
        if not isinstance(value, Mapping) or key == "thresholds":
            continue
        name = f"{where} {key}".strip()
        if any(isinstance(value.get(metric), float) for metric in METRICS):
            yield name, value
        else:
            yield from _scored(value, name)


def _cell(value: object, most: int = 120) -> str:
    """Return something from a file as a cell of a table can have it, without markup of its own."""
    text = shown(value, most)
    for mark, plain in MARKUP.items():
        text = text.replace(mark, plain)
    return text
