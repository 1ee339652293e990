"""Folders as the Hugging Face Hub has them: nothing that a network knows is lost on the way."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paper_unet import UNet, load_model, predict_image
from paper_unet.errors import InputError
from paper_unet.export.about import metadata
from paper_unet.export.graph import Probabilities
from paper_unet.networks.annotated import AnnotatedUNet
from paper_unet.networks.base import Network
from paper_unet.networks.card import model_card
from paper_unet.networks.classes import class_names, output_names
from paper_unet.networks.known_weights import TERMS
from paper_unet.networks.one_choice import BatchNormUNet
from paper_unet.networks.weights_file import describe, save_model, weights_digest

FILES = ["README.md", "config.json", "model.safetensors"]


def known_things(model: Network) -> Network:
    """Give a network everything that a training leaves on it."""
    model.centre = 0.5
    model.grey_ranges["uint16"] = (120.0, 3000.0)
    model.record = {
        "config": {"label_kind": "membrane", "lr": 0.003}, "steps": 7,
        "held_out": {"sections": "24:30", "v_rand": 0.875, "thresholds": {"v_rand": 0.4}},
    }  # fmt: skip
    return model.eval()


@pytest.mark.parametrize("kind", [UNet, AnnotatedUNet, BatchNormUNet])
def test_everything_comes_back(kind: type[Network], tmp_path: Path) -> None:
    model = known_things(kind(1, 2, 2))  # type: ignore[call-arg, arg-type]
    folder = model.save_pretrained(tmp_path / "mine")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    for reader in (kind, Network):
        back = reader.from_pretrained(str(folder))
        assert type(back) is kind and not back.training
        assert describe(back) == describe(model)
        assert (back.centre, back.grey_ranges) == (0.5, {"uint8": (0, 255), "uint16": (120, 3000)})
        assert weights_digest(back) == weights_digest(model)
    image = np.random.default_rng(0).integers(0, 5000, (40, 50)).astype(np.uint16)
    np.testing.assert_array_equal(predict_image(back, image), predict_image(model, image))


def test_names_files_and_folders_of_a_training(tmp_path: Path) -> None:
    bundled = load_model()
    for name in ("bundled", "isbi2012"):
        assert weights_digest(UNet.from_pretrained(name)) == weights_digest(bundled)
    model = known_things(UNet(1, 2, 2))
    save_model(tmp_path / "weights.safetensors", model)
    for given in (tmp_path, tmp_path / "weights.safetensors"):
        assert UNet.from_pretrained(given).record == model.record


def test_a_folder_that_is_called_as_weights_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "isbi2012").mkdir()  # of data
    assert UNet.from_pretrained("isbi2012").config.width == 16
    known_things(UNet(1, 2, 2)).save_pretrained("isbi2012")
    assert UNet.from_pretrained("isbi2012").config.width == 2


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    model = known_things(UNet(1, 2, 2))
    for name in FILES:
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(InputError, match="overwrite"):
            model.save_pretrained(folder)
        assert [path.read_text() for path in folder.iterdir()] == ["mine"]
        model.save_pretrained(folder, overwrite=True)
        assert UNet.from_pretrained(folder).centre == 0.5
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is no folder"):
        model.save_pretrained(tmp_path / "file")


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known_things(AnnotatedUNet(1, 1, 2)).save_pretrained("other")
    with pytest.raises(InputError, match=r"annotated.*AnnotatedUNet\.from_pretrained"):
        UNet.from_pretrained("other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"neither model\.safetensors nor"):
        UNet.from_pretrained("empty")
    with pytest.raises(InputError, match="did you mean isbi2012"):
        UNet.from_pretrained("isbi-2012")
    path = tmp_path / "other" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        AnnotatedUNet.from_pretrained("other")


def test_the_config_beside_the_weights_is_for_readers(tmp_path: Path) -> None:
    model = known_things(UNet(1, 2, 2))
    model.save_pretrained(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (config["variant"], config["centre"], config["network"]["width"]) == ("paper", 0.5, 2)
    assert config["sha256_of_weights"] == weights_digest(model)


def test_a_card_is_written_from_the_record(tmp_path: Path) -> None:
    UNet.from_pretrained("bundled").save_pretrained(tmp_path / "m", title="Mine")
    card = (tmp_path / "m" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: paper_unet\n") and "license: other" in card
    scores: Any = load_model().record["held_out_24_29"]
    for words in ("# Mine", "1,940,834 parameters", "| lr | 0.003 |", TERMS, "uint8 0 to 255",
                  "ISBI 2012, sections 0-23", f"{scores['none']['v_rand']:.4f}"):  # fmt: skip
        assert words in card
    plain = model_card(UNet(1, 3, 2), "New")
    assert "No scores are stored" in plain and "class 0, class 1, class 2" in plain
    assert "Not stated" in plain


def test_a_card_has_no_markup_from_a_file() -> None:
    model = UNet(1, 2, 2)
    model.record = {
        "data": "a | b\n# c <script>",
        "config": {"`x`": "|\n|", "y": "![p](http://q/p.png)"},
        "terms": "t\n\n# u",
    }
    card = model_card(model, "a\nb", "t\n\n# u")
    assert "![p](" not in card and "](http" not in card
    assert "<script>" not in card and "\n# c" not in card and "\n# u" not in card
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert all(line.count("|") == 3 for line in rows if not line.startswith("|---"))


@pytest.mark.parametrize(
    ("kind", "classes", "expected"),
    [
        ("membrane", 2, ["membrane", "cell"]),
        ("instance", 2, ["background", "cell"]),
        ("class", 2, ["class 0", "class 1"]),
        ("class", 3, ["class 0", "class 1", "class 2"]),
        (None, 2, ["background", "cell"]),
    ],
)
def test_what_classes_are_called(kind: str | None, classes: int, expected: list[str]) -> None:
    model = UNet(1, classes, 2)
    model.record = {"config": {"label_kind": kind}}
    assert list(class_names(model)) == output_names(model) == expected
    model.record["class_names"] = [f"kind {k}" for k in range(classes)]
    assert output_names(model) == [f"kind {k}" for k in range(classes)]
    logit = AnnotatedUNet(1, 1, 2)
    logit.record = {"config": {"label_kind": "instance"}}
    assert (class_names(logit), output_names(logit)) == (("background", "cell"), ["cell"])


def test_no_path_of_the_machine_that_trained_is_published(tmp_path: Path) -> None:
    model = UNet(1, 2, 2)
    model.record = {"config": {"start": "/home/me/w.safetensors", "w0": 10.0}, "start_sha256": "ab"}
    folder = model.save_pretrained(tmp_path / "m")
    written = [path.read_bytes() for path in folder.iterdir()]
    assert len(written) == 3 and not any(b"/home/me" in data for data in written)
    about = metadata(model, Probabilities(model))
    assert "/home/me" not in json.dumps(about) and '"start_sha256": "ab"' in about["record"]
    assert model.record["config"]["start"]  # the one in memory stays as it was
    assert UNet.from_pretrained(folder).record == {
        "config": {"w0": 10.0}, "start_sha256": "ab",
    }  # fmt: skip


def in_cache(cache: Path, repository: str, file: Path) -> None:
    """Put a file where the Hub's library keeps what it has downloaded."""
    place = cache / f"models--{repository.replace('/', '--')}"
    commit = "0" * 40
    (place / "snapshots" / commit).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    shutil.copy(file, place / "snapshots" / commit / "model.safetensors")


def test_a_repository_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub", reason='pip install "paper-unet[hub]"')
    monkeypatch.chdir(tmp_path)
    model = known_things(UNet(1, 2, 2))
    model.save_pretrained("m")
    in_cache(tmp_path / "cache", "somebody/net", tmp_path / "m" / "model.safetensors")
    offline = {"cache_dir": str(tmp_path / "cache"), "local_files_only": True}
    back = UNet.from_pretrained("somebody/net", **offline)
    assert (back.record, back.centre, back.grey_ranges) == (
        model.record, model.centre, model.grey_ranges,
    )  # fmt: skip
    with pytest.raises(InputError, match="somebody/other: no such folder, and no "):
        UNet.from_pretrained("somebody/other", **offline)


def test_what_is_put_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason='pip install "paper-unet[hub]"')
    sent: dict[str, Any] = {}

    class Made:
        repo_id = "me/net"

    def create_repo(self: Any, repo_id: str, **more: Any) -> Made:
        sent["made"] = (repo_id, more["private"])
        return Made()

    def upload_folder(self: Any, *, folder_path: Path, **more: Any) -> str:
        shutil.copytree(folder_path, tmp_path / "there")
        return "https://huggingface.co/me/net/commit/1"

    monkeypatch.setattr(hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(hub.HfApi, "upload_folder", upload_folder)
    model = known_things(UNet(1, 2, 2))
    address = model.push_to_hub("me/net", private=True)
    assert (address[-8:], sent["made"]) == ("commit/1", ("me/net", True))
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == FILES
    assert UNet.from_pretrained(tmp_path / "there").record == model.record
    assert "# net\n" in (tmp_path / "there" / "README.md").read_text()
    with pytest.raises(InputError, match="give owner/name"):
        model.push_to_hub("no name")

    def fails(self: Any, *_: Any, **__: Any) -> str:
        raise RuntimeError("no\nconnection")

    monkeypatch.setattr(hub.HfApi, "create_repo", fails)
    with pytest.raises(InputError, match=r"RuntimeError: no connection\); check"):
        model.push_to_hub("me/net", private=True)


def test_without_the_library_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    remedy = r'pip install "paper-unet\[hub\]"'
    with pytest.raises(InputError, match=remedy):
        UNet.from_pretrained("somebody/net")
    with pytest.raises(InputError, match=remedy):
        UNet(1, 2, 2).push_to_hub("somebody/net")
    UNet(1, 2, 2).save_pretrained("m")
    assert torch.equal(UNet.from_pretrained("m").head.weight, UNet.from_pretrained("m").head.weight)
