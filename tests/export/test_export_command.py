"""``paper-unet export``: names, what is in the way, what is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from paper_unet import UNet
from paper_unet.cli import main
from paper_unet.networks.weights_file import save_model


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    save_model("w.safetensors", UNet(1, 2, 2))
    return "w.safetensors"


def test_it_writes_and_says_what(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", weights, "-o", "m.PT2"]) == 0
    said = capsys.readouterr().out
    assert "wrote m.PT2: sides 16k + 60, 188 or more" in said and "largest difference" in said
    assert sorted(path.name for path in Path().iterdir()) == ["m.PT2", "w.safetensors"]
    before = Path("m.PT2").read_bytes()
    assert main(["export", weights, "-o", "m.PT2"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert Path("m.PT2").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["w.safetensors", "-o", "m.pb"], "end it in .onnx, .pt2"),
        (["w.safetensors", "-o", "m"], "end it in .onnx, .pt2"),
        (["w.safetensors", "-o", "w.safetensors"], "end it in .onnx, .pt2"),
        (["w.safetensors", "-o", "none/m.onnx"], "none"),
        (["nothing", "-o", "m.onnx"], "no such file of weights"),
        (["bundeld", "-o", "m.onnx"], "no such file of weights"),
        (["w.safetensors", "-o", "m.onnx", "--valid"], "--valid are of a package"),
        (["w.safetensors", "-o", "m.onnx", "--title", "My model"], "--title, --author"),
        (["w.safetensors", "-o", "m.zip", "--licence", "a b"], "--licence is 'a b'"),
    ],
)
def test_what_is_refused(
    weights: str, given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *given]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize(
    ("out", "library"),
    [("m.onnx", "onnx"), ("m.onnx", "onnxscript"), ("m.onnx", "onnxruntime"), ("m.zip", "yaml")],
)
def test_without_a_library_one_line_says_what_to_install(
    weights: str, out: str, library: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["export", weights, "-o", out]) == 2
    error = capsys.readouterr().err
    assert f'needs {library}, which is not installed: pip install "paper-unet[export]"' in error
    assert [path.name for path in Path().iterdir()] == ["w.safetensors"]
