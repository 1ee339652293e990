"""Libraries that only those need who export."""

from __future__ import annotations

import importlib
import os
from typing import Any

from paper_unet.errors import InputError


def needed(library: str, what: str, extra: str) -> Any:
    """Return a library that an extra of the package installs.

    Raises
    ------
    InputError
        If it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime from 1.29 on reports home
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise InputError(
            f'{what} needs {library.partition(".")[0]}: pip install "paper-unet[{extra}]"'
        ) from error
