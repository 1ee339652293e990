"""What an exported graph says about itself, as texts by name."""

from __future__ import annotations

import json
from importlib.metadata import version

from paper_unet.export.graph import Probabilities
from paper_unet.networks.base import Network
from paper_unet.networks.card import input_words, published
from paper_unet.networks.classes import output_names
from paper_unet.networks.weights_file import describe, weights_digest


def metadata(model: Network, graph: Probabilities, terms: str = "") -> dict[str, str]:
    """Return what ONNX has in its ``metadata_props`` and torch.export in its extra file.

    Parameters
    ----------
    model : Network
        What was loaded; its description, ranges, centre and record are those.
    graph : Probabilities
        What is exported of it.
    terms : str

    Returns
    -------
    dict of str to str
        Values that are no plain text are JSON.
    """
    about = describe(model)
    lost = f"; it lacks {graph.lost} pixels on each side of the image" if graph.lost else ""
    return {
        "software": f"paper_unet {version('paper-unet')}",
        "variant": model.variant,
        "network": json.dumps(about["network"], sort_keys=True),
        "weights_sha256": weights_digest(model),
        "input": f"{input_words(model)}; the centre is subtracted inside",
        "grey_ranges": json.dumps(about["grey_ranges"], sort_keys=True),
        "centre": repr(float(model.centre)),
        "centre_subtracted": "inside",
        "sides": str(graph.sides),
        "output": f"the probability of each class{lost}",
        "classes": json.dumps(output_names(model)),
        "lost": str(graph.lost),
        "terms": terms,
        "record": json.dumps(published(about["record"]), sort_keys=True),
    }
