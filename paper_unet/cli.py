"""The command line ``paper-unet``: parse, call, save."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray

from paper_unet import __version__
from paper_unet.errors import DivergedError, InputError

EXIT_FAILED, EXIT_INPUT, EXIT_INTERRUPTED = 1, 2, 130
METRICS = {
    "v_rand": "V_rand (thin), higher is better",
    "v_info": "V_info (thin), higher is better",
    "pixel_error": "pixel error, lower is better",
    "rand_error": "Rand error, lower is better",
    "warping_error": "warping error, lower is better",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: done. 1: training diverged, memory or disk ran out. 2: the input cannot be used; one line
    says what was found, what is accepted and what to do. 130: interrupted.
    """
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        return _fail(error, EXIT_INPUT)
    except torch.OutOfMemoryError as error:
        first = str(error).splitlines()[0]
        return _fail(f"out of memory ({first}); use a smaller --tile or --device cpu", EXIT_FAILED)
    except (DivergedError, OSError) as error:
        return _fail(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    return 0


def _fail(error: object, code: int) -> int:
    print(f"paper-unet: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="paper-unet",
        description="The U-Net of Ronneberger, Fischer and Brox (MICCAI 2015).",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_demo, _add_predict, _add_train, _add_evaluate, _add_fetch, _add_size):
        add(commands)
    return parser


Commands = Any  # argparse keeps the type of its sub-parsers private


def _command(
    commands: Commands, name: str, text: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    command.set_defaults(run=run)
    return command


def _flag(command: argparse.ArgumentParser, name: str, text: str) -> None:
    command.add_argument(name, action="store_true", help=text, default=argparse.SUPPRESS)


# demo


def _add_demo(commands: Commands) -> None:
    text = "segment a synthetic EM stack with the bundled weights, score it and draw it"
    command = _command(commands, "demo", text, _demo)
    command.add_argument("--out", type=Path, default=Path("demo"), help="folder for the results")
    command.add_argument("--sections", type=int, default=6)
    command.add_argument("--side", type=int, default=512, help="pixels")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--overwrite", action="store_true", help="replace an earlier demo")


def _demo(options: argparse.Namespace) -> None:
    from paper_unet.demo import run_demo

    demo = run_demo(
        options.out,
        sections=options.sections,
        side=options.side,
        seed=options.seed,
        overwrite=options.overwrite,
    )
    print(f"synthetic stack, {options.sections} sections of {options.side} x {options.side} pixels")
    print_scores(demo.scores)
    for path in demo.files:
        print(f"wrote {path}")


# predict


def _add_predict(commands: Commands) -> None:
    text = "segment a stack: write the probability of the cell class at every pixel"
    command = _command(commands, "predict", text, _predict)
    command.add_argument("input", type=Path, metavar="IN.tif", help="grey image or stack, any size")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.tif")
    command.add_argument("--weights", type=Path, help="default: the bundled ones (ISBI 2012)")
    command.add_argument("--slices", help="such as 24:30; default: all")
    command.add_argument("--tile", type=int, default=572, help="largest input side, 16k + 60")
    command.add_argument(
        "--tiling",
        choices=("exact", "abutting"),
        default="exact",
        help="exact: equal to one pass over the whole image; abutting: the paper's grid",
    )
    command.add_argument(
        "--average",
        choices=("none", "flips", "rotations"),
        default="none",
        help="mean over the four flips (the authors' release) or seven rotations (sec. 4)",
    )
    command.add_argument("--dtype", choices=("float32", "uint8"), default="float32")
    command.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="grey values that mean 0 and 1; needed for uint16 unless the weights know it",
    )
    command.add_argument("--axes", help="of the file, such as ZYX; wins over what it says itself")
    command.add_argument("--series", type=int, help="of a file that has several")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    command.add_argument("--overwrite", action="store_true", help="replace the output")


def _predict(options: argparse.Namespace) -> None:
    from paper_unet.checkpoint import load_model
    from paper_unet.geometry import output_size
    from paper_unet.images import create_tiff, open_stack, parse_slices, refuse_same_file
    from paper_unet.predict import predict_image
    from paper_unet.train import pick_device

    refuse_same_file(options.input, options.out)
    output_size(options.tile)
    device = pick_device(options.device)
    with open_stack(options.input, axes=options.axes, series=options.series) as stack:
        chosen = parse_slices(options.slices, len(stack))
        shape = (len(chosen), *stack.shape[1:])
        dtype = np.dtype(options.dtype)
        with create_tiff(options.out, shape, dtype, overwrite=options.overwrite) as writer:
            model = load_model(options.weights, device)
            for k, z in enumerate(_progress(chosen, "section")):
                section = _named(
                    f"{options.input}, section {z}",
                    predict_image,
                    model,
                    stack[z],
                    tile=options.tile,
                    tiling=options.tiling,
                    average=options.average,
                    value_range=tuple(options.range) if options.range else None,
                )
                writer[k] = section if dtype == np.float32 else to_uint8(section)
    print(f"wrote {options.out}: probability of the cell class, {dtype}, {shape} (Z, Y, X)")


def to_uint8(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return round(255 p), computed in float32."""
    grey: NDArray[np.uint8] = np.rint(probability * np.float32(255)).astype(np.uint8)
    return grey


# train


def _add_train(commands: Commands) -> None:
    from paper_unet.train import TrainConfig

    text = "train a network on annotated sections (sec. 3)"
    command = _command(commands, "train", text, _train)
    hints = get_type_hints(TrainConfig, include_extras=True)
    for field in fields(TrainConfig):
        _add_setting(command, field.name, hints[field.name], field.default)
    command.add_argument(
        "--validate", default="", help="sections of the same stacks to score at the end: 24:30"
    )
    command.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    command.add_argument("--overwrite", action="store_true", help="replace an earlier run")
    command.add_argument("--dry-run", action="store_true", help="print the settings and stop")


def _add_setting(command: argparse.ArgumentParser, name: str, hint: Any, default: object) -> None:
    """Turn one field of a configuration into one option."""
    kind, text = get_args(hint) if get_origin(hint) is Annotated else (hint, "")
    flag = "--" + name.replace("_", "-")
    more: dict[str, Any] = {"help": text, "default": default}
    if default in ("", None):
        more["default"] = argparse.SUPPRESS
    if kind is bool:
        command.add_argument(flag, action=argparse.BooleanOptionalAction, **more)
    elif get_origin(kind) is Literal:
        command.add_argument(flag, choices=get_args(kind), **more)
    elif kind in (int, float, str):
        command.add_argument(flag, type=kind, required=name in ("images", "labels"), **more)
    else:  # the one pair of numbers
        command.add_argument(flag, type=float, nargs=2, metavar=("LOW", "HIGH"), **more)


def _train(options: argparse.Namespace) -> None:
    from paper_unet.checkpoint import save_model
    from paper_unet.images import parse_slices, read_stack
    from paper_unet.scoring import score_sections
    from paper_unet.train import WEIGHTS, TrainConfig, train

    given: dict[str, Any] = {
        f.name: getattr(options, f.name, f.default) for f in fields(TrainConfig)
    }
    if given["value_range"]:
        given["value_range"] = tuple(given["value_range"])
    config = TrainConfig(**given)
    if options.dry_run:
        print(json.dumps(asdict(config), indent=2))
        return
    if options.validate and config.label_kind != "membrane":
        raise InputError("--validate scores membrane labels; leave it out for instance labels")
    model = train(config, resume=options.resume, overwrite=options.overwrite)
    weights = Path(config.out) / WEIGHTS
    print(f"wrote {weights}")
    if options.validate:
        images, labels = read_stack(config.images), read_stack(config.labels)
        held_out = list(parse_slices(options.validate, len(images)))
        scores = score_sections(model, images[held_out], labels[held_out], progress=True)
        print_scores(scores)
        model.record["held_out"] = {"sections": options.validate, **headline(scores)}
        save_model(weights, model)


# evaluate


def _add_evaluate(commands: Commands) -> None:
    text = "score a prediction by the five metrics of the ISBI 2012 challenge"
    command = _command(commands, "evaluate", text, _evaluate)
    command.add_argument("labels", type=Path, metavar="LABELS", help="TIFF, 0 = membrane")
    command.add_argument("prediction", type=Path, metavar="PREDICTION", help="TIFF, P(cell)")
    command.add_argument("--slices", help="of the labels, such as 24:30; default: all")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _evaluate(options: argparse.Namespace) -> None:
    from paper_unet.images import parse_slices, read_stack
    from paper_unet.metrics import isbi2012_scores

    labels, prediction = read_stack(options.labels), read_stack(options.prediction)
    chosen = list(parse_slices(options.slices, len(labels)))
    labels = labels[chosen]
    if len(prediction) != len(chosen) and options.slices:
        prediction = prediction[list(parse_slices(options.slices, len(prediction)))]
    scores = isbi2012_scores(labels, _unit_prediction(prediction, options.prediction))
    if options.json:
        print(json.dumps(headline(scores)))
    else:
        print_scores(scores)


def _unit_prediction(prediction: NDArray[Any], path: Path) -> NDArray[np.float32]:
    if prediction.dtype.kind == "u":
        top = np.iinfo(prediction.dtype).max
        print(f"{path}: {prediction.dtype}, divided by {top}", file=sys.stderr)
        return (prediction / np.float64(top)).astype(np.float32)
    return prediction.astype(np.float32)


def headline(scores: Any) -> dict[str, Any]:
    """Return the five numbers and their thresholds, ready for JSON."""
    everything = scores.to_dict()
    return {name: everything[name] for name in (*METRICS, "thresholds")}


def print_scores(scores: Any) -> None:
    """Print the five metrics, each with the threshold that is best for it."""
    numbers = headline(scores)
    for name, text in METRICS.items():
        print(f"{text:<34} {numbers[name]:.6f}  at threshold {numbers['thresholds'][name]:.1f}")


# fetch and size


def _add_fetch(commands: Commands) -> None:
    from paper_unet.datasets import DATA_SETS

    text = "fetch a data set and verify its pixels"
    command = _command(commands, "fetch", text, _fetch)
    command.add_argument("name", choices=sorted(DATA_SETS))
    command.add_argument(
        "--from", dest="source", type=Path, metavar="FOLDER", help="take it from there instead"
    )
    command.add_argument(
        "--to", type=Path, metavar="FOLDER", help="default: $PAPER_UNET_DATA, else data/"
    )


def _fetch(options: argparse.Namespace) -> None:
    from paper_unet.datasets import DATA_SETS, fetch

    data_set = DATA_SETS[options.name]
    folder = fetch(data_set, options.to, options.source, progress=True)
    print(data_set.terms)
    print(f"verified: {folder}")


def _add_size(commands: Commands) -> None:
    text = "say which sizes fit the network, and what comes out"
    command = _command(commands, "size", text, _size)
    command.add_argument("side", type=int, help="pixels")


def _size(options: argparse.Namespace) -> None:
    from paper_unet.geometry import input_size, is_input_size, nearest_input_sizes, output_size

    side = options.side
    if is_input_size(side):
        print(f"an input of {side} pixels gives an output of {output_size(side)}")
    else:
        below, above = nearest_input_sizes(side)
        print(f"{side} is no legal input; nearest are {below} and {above} (16k + 60, from 188)")
    needed = input_size(side)
    print(f"an output of at least {side} needs an input of {needed} (gives {output_size(needed)})")


# helpers


def _progress(items: Sequence[int] | range, unit: str) -> Any:
    from tqdm import tqdm

    return tqdm(items, unit=unit)


def _named(name: str, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
    """Call, with the name of what was worked on in front of an input error."""
    try:
        return call(*args, **more)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
