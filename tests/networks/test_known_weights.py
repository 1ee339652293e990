"""Weights by name, wherever weights are taken."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from paper_unet import TrainConfig, UNet, load_model, predict_image, settings
from paper_unet.cli import build_parser, main
from paper_unet.errors import InputError
from paper_unet.large import PredictConfig, predict_file
from paper_unet.networks import known_weights as known_module
from paper_unet.networks.known_weights import (
    BUNDLED,
    KnownWeights,
    elsewhere,
    known_weights,
    locate,
)
from paper_unet.networks.tensor_file import read_tensors
from paper_unet.networks.weights_file import read_network, save_model, weights_digest
from paper_unet.settings import options
from paper_unet.synthetic import synthetic_stack
from paper_unet.training.initial_weights import start_network
from paper_unet.training.run_folder import refuse_own_input, start_digest


def narrow(path: Path, seed: int = 0) -> Path:
    """A file of weights that is quickly read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_model(path, UNet(width=1))
    return path


@pytest.fixture(autouse=True)
def fresh_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """The help of options is made once, of the names that there are then."""
    monkeypatch.setattr(settings, "_READ", {})


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", noise)
    return tmp_path / "in.tif"


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of weights called ``narrow``, which a fetch would fill, in another folder."""
    made = narrow(tmp_path / "made.safetensors")
    line = made.read_bytes().partition(b'sha256\\": \\"')[2]
    known = KnownWeights("narrow", "n.safetensors", fetched=True, sha256=line[:64].decode())
    monkeypatch.setattr(known_module, "FETCHED", [known])
    monkeypatch.setenv("PAPER_UNET_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data" / "weights" / "n.safetensors"


def test_the_name_of_the_bundled_weights_is_the_default():
    assert locate("isbi2012") == locate(None) == (BUNDLED, "")
    assert next(iter(known_weights())) == "isbi2012"
    default, named = load_model(), load_model("isbi2012")
    assert weights_digest(default) == weights_digest(named)
    assert named.record == default.record and default.config.width == 16


def test_a_prediction_by_name_is_the_same_bytes(stack, tmp_path):
    for out, weights in (("a.tif", None), ("b.tif", "isbi2012"), ("c.tif", str(BUNDLED))):
        predict_file(PredictConfig(str(stack), str(tmp_path / out), weights=weights, threads=1))
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.tif", "b.tif", "c.tif"))
    assert a == b == c


def test_the_command_line_takes_a_name(fetched, stack, tmp_path, capsys):
    run = ["predict", str(stack), "--threads", "1", "--device", "cpu", "--weights"]
    assert main([*run, "narrow", "-o", str(tmp_path / "a.tif")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "paper-unet fetch weights" in said
    narrow(fetched)
    assert main([*run, "narrow", "-o", str(tmp_path / "a.tif")]) == 0
    assert main([*run, str(fetched), "-o", str(tmp_path / "b.tif")]) == 0
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_weights_that_are_not_fetched(fetched):
    for take in (load_model, read_network, elsewhere):
        with pytest.raises(InputError) as caught:
            take("narrow")
        assert str(caught.value) == (
            f"narrow: these weights are not in {fetched.parent}; fetch them with paper-unet fetch "
            "weights, or set PAPER_UNET_DATA to the folder that holds weights/"
        )
    narrow(fetched)
    assert load_model("narrow").config.width == load_model(Path("narrow")).config.width == 1


def test_other_weights_in_the_place_of_those_fetched(fetched):
    narrow(fetched, seed=1)
    assert load_model(fetched).config.width == 1  # sound, and by its path anything is
    for take in (load_model, read_network):
        with pytest.raises(InputError, match=r"n\.safetensors: other weights than have this name"):
            take("narrow")


def test_a_file_of_this_path_comes_first(fetched, tmp_path):
    narrow(fetched)
    save_model(tmp_path / "narrow", UNet(width=2))
    assert load_model("narrow").config.width == 2
    assert load_model(tmp_path / "narrow").config.width == 2
    assert elsewhere("narrow") == tmp_path / "narrow"


def test_a_folder_of_data_of_this_name_does_not(fetched, tmp_path):
    """The data set isbi2012 lies in a folder that is called so."""
    (tmp_path / "isbi2012").mkdir()
    assert locate("isbi2012") == (BUNDLED, "")
    with pytest.raises(InputError, match="isbi2012: is a folder, a regular file is needed"):
        load_model(tmp_path / "isbi2012")


@pytest.mark.parametrize(
    ("word", "suggested"),
    [
        ("isbi2021", "did you mean isbi2012?"),
        ("isbi2012-width46", "did you mean isbi2012-width64?"),
        ("runs/none/here.safetensors", "one of isbi2012, isbi2012-width32, isbi2012-width64"),
    ],
)
def test_what_is_neither_file_nor_name(word, suggested, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_model(word)
    assert str(caught.value).startswith(f"{word}: no such file of weights; give a .safetensors")
    assert str(caught.value).endswith(suggested)


def test_a_file_that_is_added_to_the_package_has_a_name(tmp_path, monkeypatch):
    for file in ("isbi2012.safetensors", "isbi2012-width32.float16.safetensors"):
        narrow(tmp_path / "package" / file)
    monkeypatch.setattr(known_module, "IN_PACKAGE", tmp_path / "package")
    assert list(known_weights()) == ["isbi2012", "isbi2012-width32", "isbi2012-width64"]
    file = "isbi2012-width32.float16.safetensors"
    assert locate("isbi2012-width32") == (tmp_path / "package" / file, "")
    assert "isbi2012, isbi2012-width32 in the package" in known_module.weights_help("isbi2012")
    narrow(tmp_path / "package" / "isbi2012-width64.safetensors")  # which need not be fetched then
    assert not known_weights()["isbi2012-width64"].fetched


def test_every_name_that_is_offered_is_there_or_pinned():
    for known in known_weights().values():
        if known.fetched:
            assert len(known.sha256) == 64 and known.size and known.what
        else:
            assert known.path.is_file() and read_tensors(known.path)


def test_the_wider_weights_of_the_package_predict() -> None:
    model = load_model("isbi2012-width32")
    assert model.config.width == 32 and model.record["sections"] == 24
    assert model.record["held_out_24_29"]["none"]["v_rand"] > 0.975
    section = synthetic_stack(sections=1, side=64, seed=0).images[0]
    probability = predict_image(model, section)
    assert probability.shape == section.shape and probability.std() > 0.1


def test_what_a_process_elsewhere_is_told(fetched, tmp_path, monkeypatch):
    """A worker has another working folder, and its package may lie elsewhere."""
    narrow(fetched)
    monkeypatch.setenv("PAPER_UNET_DATA", "data")
    assert elsewhere(None) is None
    assert elsewhere("isbi2012") == "isbi2012"
    assert elsewhere("narrow") == fetched
    assert elsewhere("made.safetensors") == tmp_path / "made.safetensors"
    assert elsewhere(BUNDLED) == BUNDLED


def test_training_starts_from_a_name(fetched, tmp_path):
    narrow(fetched)
    config = TrainConfig(width=1, start="narrow", centre=0.0)
    assert weights_digest(start_network(config)) == weights_digest(load_model(fetched))
    assert start_digest(config) == hashlib.sha256(fetched.read_bytes()).hexdigest()
    bundled = replace(config, width=16, start="isbi2012")
    assert start_digest(bundled) == hashlib.sha256(BUNDLED.read_bytes()).hexdigest()
    fetched.rename(fetched.with_name("weights.safetensors"))
    fetched.symlink_to("weights.safetensors")
    with pytest.raises(InputError, match="is the input"):
        refuse_own_input(replace(config, out=str(fetched.parent)))


def test_the_options_say_which_names_there_are():
    for kind, name in ((PredictConfig, "weights"), (TrainConfig, "start")):
        (option,) = (option for option in options(kind) if option.name == name)
        assert (
            "isbi2012, isbi2012-width32 in the package, isbi2012-width64 once fetched"
            in option.help
        )
    assert build_parser().parse_args(["fetch", "weights"]).name == "weights"
