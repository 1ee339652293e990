"""``paper-unet``, also as ``python -m paper_unet``: an interrupt is caught from here on."""

import os
from typing import NoReturn


def run() -> NoReturn:
    """Run the command line and end the process."""
    try:
        from paper_unet.cli import command

        command()
    except KeyboardInterrupt:  # before the command line could take it
        os.write(2, b"paper-unet: interrupted\n")
        os._exit(130)


if __name__ == "__main__":
    run()
