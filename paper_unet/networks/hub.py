"""Folders of a network as the Hugging Face Hub has them: weights, configuration, model card.

`paper_unet.networks.base.Network` has these as `from_pretrained`, `save_pretrained` and
`push_to_hub`. The weights are a file as `paper_unet.networks.weights_file` writes it, so that grey
ranges, centre, record and SHA-256 travel with it; ``config.json`` shows what it says, and is not
read.
"""

from __future__ import annotations

import json
import re
from copy import copy
from pathlib import Path
from typing import Any, Final, TypeVar

import torch

from paper_unet.errors import InputError, shown
from paper_unet.networks.base import Network
from paper_unet.networks.card import model_card, published
from paper_unet.networks.known_weights import is_known, terms_of
from paper_unet.networks.weights_file import describe, load_model, save_model, weights_digest
from paper_unet.system.files import check_free_name, make_folder, write_atomic
from paper_unet.system.libraries import needed

AnyNetwork = TypeVar("AnyNetwork", bound=Network)

WEIGHTS: Final = "model.safetensors"
"""What the Hub calls a file of weights."""

TRAINED: Final = "weights.safetensors"
"""What a training calls it: its folder is read, too."""

REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def save_pretrained(
    model: Network, folder: str | Path, *, title: str | None = None, overwrite: bool = False
) -> Path:
    """Write a network into a folder: ``model.safetensors``, ``config.json`` and ``README.md``.

    Parameters
    ----------
    model : Network
    folder : path-like
        Made if absent.
    title : str, optional
        Of the model card; default: the name of the folder.
    overwrite : bool
        Whether files that are there may be replaced.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If a file is there, or the folder cannot be made.
    """
    folder = Path(folder)
    terms = terms_of(model.record)
    about = describe(model)
    config = {
        "library": "paper_unet",
        "variant": model.variant,
        "network": about["network"],
        "grey_ranges": about["grey_ranges"],
        "centre": float(model.centre),
        "sha256_of_weights": weights_digest(model),
    }
    card = model_card(model, title or folder.resolve().name, terms)
    texts = {
        "README.md": f"{_front_matter(terms)}\n{card}{USE}",
        "config.json": json.dumps(config, indent=2, sort_keys=True) + "\n",
    }
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is no folder; give the name of one, or of one to be made")
    for name in (*texts, WEIGHTS):
        check_free_name(folder / name, overwrite=overwrite, folders=False)
    make_folder(folder)
    shown_to_all = copy(model)
    shown_to_all.record = published(model.record)
    save_model(folder / WEIGHTS, shown_to_all, overwrite=overwrite)  # what the others describe
    for name, text in texts.items():
        write_atomic(folder / name, text.encode(), overwrite=overwrite)
    return folder


def from_pretrained(
    kind: type[AnyNetwork],
    name_or_folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    **of_the_hub: Any,
) -> AnyNetwork:
    """Read a network from a folder, a file, a name, or the Hub.

    Parameters
    ----------
    kind : type of Network
        What it has to be.
    name_or_folder : path-like or str
        A folder that `save_pretrained` or a training wrote; a file of weights; a name that
        `load_model` knows; else ``owner/name`` of a repository of the Hub.
    device : str or torch.device
    **of_the_hub
        ``revision``, ``token``, ``cache_dir``, ``local_files_only``, ...: as
        `huggingface_hub.hf_hub_download` takes them.

    Returns
    -------
    Network
        In evaluation mode, with its grey ranges, centre and record.

    Raises
    ------
    InputError
        If there is nothing of this name, it cannot be read, or it is another network.
    """
    model = load_model(_file_of(name_or_folder, of_the_hub), device)
    if not isinstance(model, kind):
        raise InputError(
            f"{name_or_folder}: holds the network {model.variant}, a {type(model).__name__}; read "
            f"it with {type(model).__name__}.from_pretrained, or Network.from_pretrained"
        )
    return model


def push_to_hub(model: Network, repo_id: str, **of_the_hub: Any) -> str:
    """Put a network on the Hub, as `save_pretrained` writes it.

    Parameters
    ----------
    model : Network
    repo_id : str
        ``owner/name``; made if absent, public unless ``private=True`` is given.
    **of_the_hub
        ``private``, ``token``, ``commit_message``, ...: as the mixin of huggingface_hub takes them.

    Returns
    -------
    str
        What huggingface_hub says: the address of the commit.

    Raises
    ------
    InputError
        If huggingface_hub is not installed, or the name is none that the Hub has.
    """
    hub = needed("huggingface_hub", "the Hugging Face Hub", "hub")
    if not REPOSITORY.fullmatch(repo_id):
        raise InputError(f"{shown(repo_id)!r} is no repository of the Hub; give owner/name")

    class OnHub(hub.ModelHubMixin):  # type: ignore[misc, name-defined]
        def _save_pretrained(self, save_directory: Path) -> None:
            save_pretrained(model, save_directory, title=repo_id.partition("/")[2])

    try:
        return str(OnHub().push_to_hub(repo_id, **of_the_hub))
    except InputError:
        raise
    except Exception as error:  # of the Hub or of an HTTP library, which its versions change
        raise InputError(
            f"{repo_id}: could not be put on the Hub ({type(error).__name__}: "
            f"{shown(error, 160)}); check the name, the connection and the token"
        ) from error


def _file_of(given: str | Path, of_the_hub: dict[str, Any]) -> str | Path:
    """Return the file of weights, or their name."""
    path = Path(given)
    if path.is_dir():
        found = next((path / n for n in (WEIGHTS, TRAINED) if (path / n).is_file()), None)
        if found is None and not is_known(given):
            raise InputError(
                f"{path}: has neither {WEIGHTS} nor {TRAINED}; give a folder that save_pretrained "
                "or a training wrote"
            )
        return found or given
    if not path.exists() and not is_known(given) and REPOSITORY.fullmatch(str(given)):
        return _downloaded(str(given), of_the_hub)
    return given


def _downloaded(repo_id: str, of_the_hub: dict[str, Any]) -> Path:
    hub = needed("huggingface_hub", f"{repo_id}: no such folder, and the Hub", "hub")
    try:
        return Path(hub.hf_hub_download(repo_id, WEIGHTS, **of_the_hub))
    except Exception as error:  # of the Hub or of an HTTP library, which its versions change
        raise InputError(
            f"{repo_id}: no such folder, and no {WEIGHTS} of this repository of the Hub could be "
            f"had ({type(error).__name__}: {shown(error, 160)}); check the name and the connection"
        ) from error


def _front_matter(terms: str) -> str:
    """Return what the Hub reads of a card."""
    licence = "license: other\nlicense_name: see-terms-below" if terms else "license: unknown"
    return (
        f"---\nlibrary_name: paper_unet\npipeline_tag: image-segmentation\n{licence}\n"
        "tags:\n- u-net\n- microscopy\n---\n"
    )


USE: Final = """
## Use

```python
from paper_unet import predict_image
from paper_unet.networks.base import Network

model = Network.from_pretrained("FOLDER OR owner/name")
probability = predict_image(model, image)
```
"""
