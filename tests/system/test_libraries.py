"""Libraries of extras: one line that says what is the matter and how to install them."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from paper_unet.errors import InputError
from paper_unet.system.libraries import is_installed, needed, require

ROOT = Path(__file__).parents[2]


def test_what_is_there_is_given() -> None:
    assert needed("json.decoder", "this", "none").JSONDecoder
    require("json", "this", "none")


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.inside"])
def test_what_is_not_installed_is_named_with_the_extra(module: str) -> None:
    remedy = (
        r'^x: this needs no_such_library, which is not installed: pip install "paper-unet\[e\]"'
    )
    with pytest.raises(InputError, match=remedy + "$"):
        needed(module, "x: this", "e")
    with pytest.raises(InputError, match=remedy + ", or do without$"):
        needed(module, "x: this", "e", instead="do without")
    with pytest.raises(InputError, match=remedy + "$"):
        require("no_such_library", "x: this", "e")


def test_what_is_there_and_fails_is_not_called_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_there.py").write_text("import a_part_of_it\n")
    (tmp_path / "too_old.py").write_text("from json import nothing\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module, cause in [("half_there", "'a_part_of_it'"), ("too_old", "cannot import name")]:
        with pytest.raises(InputError, match=f"needs {module}, which cannot be imported.*{cause}"):
            needed(module, "this", "e")
        require(module, "this", "e")  # looks, and does not import
        assert module not in sys.modules
        assert is_installed(module)


def test_every_extra_that_a_message_names_is_one() -> None:
    """And `needed` alone says how to install one."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = set()
    for path in sorted((ROOT / "paper_unet").rglob("*.py")):
        text = path.read_text()
        if path.name != "libraries.py":
            assert not re.search(r"pip install .{0,2}paper-unet\[", text), path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("needed", "require"):
                extra = node.args[2]
                assert isinstance(extra, ast.Constant), path
                named.add(extra.value)
    assert named == {
        "caffe", "codecs", "completion", "export", "fast", "hdf5", "hub", "large", "mrc", "remote",
        "view",
    }  # fmt: skip
    assert named <= extras.keys()


@pytest.mark.parametrize(("code", "expected"), [
    ('from paper_unet.system.libraries import needed; needed("yaml", "this", "export")', None),
    ("from paper_unet.export.onnx_file import opened_onnx\ntry: opened_onnx(b'')\n"
     "except Exception: pass", "1"),
    ("import paper_unet.export.run as run; from pathlib import Path\n"
     "run._maker(Path('m.onnx'), run.ExportSettings())", None),
])  # fmt: skip
def test_telemetry_is_turned_off_where_the_library_that_has_it_is_imported(
    code: str, expected: str | None
) -> None:
    pytest.importorskip("onnxruntime")
    code += "\nimport os, sys; print(os.environ.get('ORT_DISABLE_TELEMETRY'))"
    code += "\nprint('onnxruntime' in sys.modules)"
    given = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=given
    )
    assert done.stdout.split() == [str(expected), str(expected is not None)]
