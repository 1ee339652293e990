"""``paper-unet evaluate`` and ``paper-unet evaluate-cells``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_unet.cli.common import Commands, add_command, print_scores, say, saying
from paper_unet.errors import InputError, naming, without_secrets
from paper_unet.system.files import check_free_name, refuse_same_file, require_folder, write_atomic
from paper_unet.system.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def add(commands: Commands) -> None:
    """Add the two commands."""
    text = (
        "score a prediction by the five metrics of the ISBI 2012 challenge, or, with --labels, "
        "numbers of cells in 3-D by adapted Rand error and variation of information"
    )
    command = add_command(commands, "evaluate", text, _evaluate)
    command.add_argument(
        "labels", type=Path, metavar="LABELS", help="stack of labels, 0 = membrane"
    )
    command.add_argument(
        "prediction", type=Path, metavar="PREDICTION",
        help="stack of P(cell); with --labels, numbers of cells",
    )  # fmt: skip
    command.add_argument(
        "--labels", dest="numbers", action="store_true",
        help="both hold a number for each cell, 0 = background, which of LABELS does not count",
    )  # fmt: skip
    command.add_argument(
        "--slices",
        help="of the labels, such as 24:30, default: all; of the prediction too, unless it has "
        "just as many",
    )
    command.add_argument(
        "--range",
        dest="value_range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="values of the prediction that mean 0 and 1; default: 0 1, of uint8 0 255, of uint16 "
        "0 65535",
    )
    command.add_argument(
        "--missing",
        choices=("fail", "fill"),
        default="fail",
        help="of a Zarr or HDF5 without some of its chunks: refuse it, or fill them",
    )
    for name, kind, text in (
        ("axes", str, "such as ZYX, where what a file says of its axes is no stack"),
        ("channel", str, "of a file that has several, as `predict --all-classes` has"),
        ("time", int, "number of the time point, from 0, of a file that has several"),
    ):
        command.add_argument(f"--{name}", type=kind, help=text)
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument("--plot", type=Path, metavar="FILE", help="draw the scores and mismatches")
    command.add_argument(
        "--report", type=Path, metavar="FILE.html",
        help="write one page: scores, curves, the worst sections, where it all comes from",
    )  # fmt: skip
    command.add_argument(
        "--overwrite", action="store_true", help="replace the picture and the page"
    )
    text = "score cells by the SEG measure of the Cell Tracking Challenge"
    command = add_command(commands, "evaluate-cells", text, _evaluate_cells)
    command.add_argument("truth", type=Path, help="folder of man_segTTT.tif, or above it: 01_GT")
    command.add_argument("result", type=Path, help="folder of maskTTT.tif: 01_RES")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _evaluate(options: argparse.Namespace) -> None:
    from paper_unet.images import open_probabilities, parse_slices, pixels_of, read_stack
    from paper_unet.metrics import Evaluated, isbi2012_scores

    if options.numbers:
        _evaluate_cells_in_3d(options)
        return
    pixel_size = _check_outputs(options)
    tell = saying(options.command)
    of_labels, of_prediction = (
        {"missing": options.missing, **_choices(options, path)}
        for path in (options.labels, options.prediction)
    )
    # what is shown as black and white says nothing of labels
    labels = read_stack(options.labels, labels=True, say=tell, **of_labels)
    with open_probabilities(options.prediction, **of_prediction) as stack:
        prediction = pixels_of(stack, tell)
    chosen = list(parse_slices(options.slices, len(labels)))
    labels = _cells(labels[chosen], options.labels)
    if options.slices and len(prediction) != len(chosen):
        prediction = prediction[list(parse_slices(options.slices, len(prediction)))]
    interior = _probabilities(prediction, options.prediction, options.value_range)
    scores = isbi2012_scores(labels, interior, workers=os.cpu_count(), progress=True)
    evaluated = Evaluated(scores, labels, interior, chosen)
    if options.json:
        print(json.dumps(evaluated.headline))
    else:
        print_scores(evaluated.headline)
    for line in evaluated.doubts:
        say(f"careful: {line}")
    if options.plot:
        from paper_unet.figures.results import scores_figure
        from paper_unet.figures.style import picture

        drawn = scores_figure(evaluated, pixel_size)
        encoded = picture(drawn, options.plot.suffix.lower().lstrip("."))
        write_atomic(options.plot, encoded, overwrite=options.overwrite)
    if options.report:
        from paper_unet.figures.report import report_page

        page = report_page(
            evaluated, title=f"Scores of {options.prediction.name}",
            facts=_facts(options, labels, interior), pixel_size=pixel_size,
        )  # fmt: skip
        write_atomic(options.report, page.encode(), overwrite=options.overwrite)
        say(f"wrote {options.report}")


def _facts(
    options: argparse.Namespace, labels: NDArray[Any], interior: NDArray[Any]
) -> dict[str, str]:
    """Say where the numbers come from: command, files, what was compared, versions, machine."""
    from hashlib import sha256

    import numpy as np

    from paper_unet.system.environment import environment, versions

    facts = {"command": without_secrets(shlex.join(["paper-unet", *sys.argv[1:]]))}
    for name, path, values in (
        ("labels", options.labels, labels),
        ("prediction", options.prediction, interior),
    ):
        size = " x ".join(map(str, values.shape))
        digest = sha256(np.ascontiguousarray(values).data).hexdigest()
        facts[name] = without_secrets(str(path))
        facts[f"{name}, as compared"] = f"{size}, {values.dtype}, SHA-256 of the values {digest}"
    facts["sections of the labels"] = options.slices or "all"
    return facts | {"paper-unet": versions()["paper-unet"]} | environment()


CELL_SCORES = {
    "adapted_rand_error": "adapted Rand error, lower is better",
    "adapted_rand_precision": "its precision (mergers)",
    "adapted_rand_recall": "its recall (splits)",
    "cremi_adapted_rand_error": "adapted Rand error of CREMI, lower is better",
    "voi_split": "VOI split, bits, lower is better",
    "voi_merge": "VOI merge, bits, lower is better",
    "cremi_score": "CREMI score, lower is better",
}


def _choices(options: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Return what of the axes, channel and time point that are given a file needs."""
    from paper_unet.images import needed_choices

    names = ("axes", "channel", "time")
    given = {name: getattr(options, name) for name in names}
    return needed_choices(path, options.missing, **given)


def _evaluate_cells_in_3d(options: argparse.Namespace) -> None:
    """Score numbers of cells, section by section."""
    from paper_unet.images import open_stack, parse_slices
    from paper_unet.metrics import Overlap

    if options.plot or options.report or options.value_range:
        raise InputError(
            "--plot, --report and --range are of probabilities; leave them out with --labels"
        )
    table = Overlap()
    with (
        open_stack(
            options.labels,
            labels=True,
            missing=options.missing,
            **_choices(options, options.labels),
        ) as truth,
        open_stack(
            options.prediction,
            labels=True,
            missing=options.missing,
            **_choices(options, options.prediction),
        ) as found,
    ):
        for note in (*truth.notes, *found.notes):
            saying(options.command)(note)
        chosen = parse_slices(options.slices, len(truth))
        of_found = range(len(found))
        if options.slices and len(found) != len(chosen):
            of_found = parse_slices(options.slices, len(found))
        if (len(chosen), *truth.shape[1:]) != (len(of_found), *found.shape[1:]):
            raise InputError(
                f"{options.prediction}: {len(of_found)} x {found.shape[1]} x {found.shape[2]} "
                f"voxels, the labels are {len(chosen)} x {truth.shape[1]} x {truth.shape[2]}; "
                "crop one of them, or choose with --slices"
            )
        pairs = list(zip(chosen, of_found, strict=True))
        for path, stack, numbers in (
            (options.labels, truth, chosen),
            (options.prediction, found, of_found),
        ):
            _doubt(path, stack[numbers[len(numbers) // 2]])
        for z, k in progress_bar(pairs, desc="scores", unit="section"):
            table.add(truth[z], found[k])
    scores = table.scores().to_dict()
    if options.json:
        print(json.dumps(scores))
        return
    for name, title in CELL_SCORES.items():
        print(f"{title:<46} {scores[name]:.6f}")
    print(
        f"{scores['found_cells']:.0f} cells found in the {scores['voxels']:.0f} voxels of "
        f"{scores['true_cells']:.0f} true ones"
    )


def _doubt(path: Path, section: NDArray[Any]) -> None:
    """Say if a section has hardly a number for each cell."""
    from paper_unet.metrics import doubt_of_numbers

    if section.dtype.kind in "bui" and (doubt := doubt_of_numbers(section)):
        say(f"careful: {path}: {doubt}")


def _probabilities(
    prediction: NDArray[Any], path: Path, given: list[float] | None
) -> NDArray[np.float32]:
    """Rescale to [0, 1] what is not, and say so."""
    from paper_unet.metrics import as_probability, probability_range

    with naming(path):
        found = probability_range(prediction, None if given is None else (given[0], given[1]))
        if found is None:
            return as_probability(prediction)
        low, high = found
        say(f"{path}: {prediction.dtype}, {low:g} means 0 and {high:g} means 1")
        return as_probability(prediction, found)


def _cells(labels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return where the cells are if they have one value, whichever; else labels as they are."""
    inside: NDArray[Any] = labels != 0
    values = labels[inside]
    if values.size and (values == values[0]).all():
        return inside
    if values.size and labels.dtype.kind in "iu":
        raise InputError(
            f"{path}: labels hold {values.min()} to {values.max()} beside 0; numbers of cells are "
            "compared with --labels, of a mask all cells have one number"
        )
    return labels


OUTPUTS = {"plot": (".png", ".pdf", ".svg"), "report": (".html",)}
"""What may be written, and how it ends."""


def _check_outputs(options: argparse.Namespace) -> float | None:
    """Refuse what could not be written, or would replace something, before the work.

    Return the width of a pixel in micrometres, if something is written and a file says it.
    """
    from paper_unet.images import file_of, open_stack

    outputs = {name: path for name in OUTPUTS if (path := getattr(options, name))}
    for name, path in outputs.items():
        if path.suffix.lower() not in OUTPUTS[name]:
            *others, last = OUTPUTS[name]
            endings = f"{', '.join(others)} or {last}" if others else last
            raise InputError(
                f"{path}: a {'picture' if name == 'plot' else 'report'} ends in {endings}"
            )
    pixel_size = None
    for source in (options.labels, options.prediction) if outputs else ():
        choices = _choices(options, source)
        with open_stack(source, labels=True, missing=options.missing, **choices) as stack:
            pixel_size = pixel_size or stack.pixel_size[2]
            for path in outputs.values():
                refuse_same_file(file_of(source), path)
                for file in stack.files:
                    refuse_same_file(file, path)
    for path in outputs.values():
        check_free_name(path, overwrite=options.overwrite, folders=False)
        require_folder(path)
    return pixel_size


def _evaluate_cells(options: argparse.Namespace) -> None:
    from paper_unet.datasets.cell_tracking import paired_frames
    from paper_unet.metrics import seg_measure

    pairs = paired_frames(options.truth, options.result)
    truth, result = zip(*pairs, strict=True)
    scores = seg_measure(map(_read_frame, truth), map(_read_frame, result))
    if options.json:
        print(json.dumps({"seg": scores.seg, "objects": scores.objects}))
    else:
        print(f"SEG {scores.seg:.6f} over {scores.objects} objects in {len(pairs)} frames")


def _read_frame(path: Path) -> NDArray[Any]:
    from paper_unet.images import read_stack

    stack = read_stack(path, labels=True, say=say)
    if len(stack) != 1:
        raise InputError(f"{path}: has {len(stack)} slices; a frame is one 2-D label image")
    frame: NDArray[Any] = stack[0]
    return frame
