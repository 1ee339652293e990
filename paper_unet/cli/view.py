"""``paper-unet view``: its options are the fields of `ViewConfig`."""

from __future__ import annotations

import argparse

from paper_unet.cli.common import (
    Commands,
    add_command,
    add_settings,
    given_settings,
    saying,
)


def add(commands: Commands) -> None:
    """Add the command."""
    from paper_unet.view.config import ViewConfig

    text = "look at an image with probabilities and labels on it, in a browser"
    command = add_command(commands, "view", text, _run)
    command.add_argument(
        "source", metavar="IN", help="image or stack, of any format that paper-unet predict reads"
    )
    command.add_argument(
        "outputs", metavar="OUT", nargs="*",
        help="probabilities or labels of it; also what paper-unet predict is writing: the page "
        "shows what is done so far. Labels are what says so itself, and integers of 32 bits and "
        "more",
    )  # fmt: skip
    command.add_argument(
        "--labels", action="append", default=[], metavar="OUT",
        help="an OUT whose values are labels, whatever their type; may be given again",
    )  # fmt: skip
    add_settings(command, ViewConfig)


def _run(options: argparse.Namespace) -> None:
    from paper_unet.system.stop import stopping
    from paper_unet.view.config import ViewConfig
    from paper_unet.view.page import Page, show

    config = given_settings(options, ViewConfig)
    tell = saying(options.command)
    with stopping() as stop, Page(
        options.source, options.outputs, options.labels, config=config, say=tell
    ) as page:  # fmt: skip
        for path, address in page.served.items():
            print(f"{path} for Neuroglancer elsewhere: {address}", flush=True)
        print(f"open {page.address} in a browser on this machine; Ctrl-C ends it", flush=True)
        show(page, stop, config.refresh)
