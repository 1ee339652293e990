"""Messages of the library name settings; the command line alone names its options."""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

import paper_unet
from paper_unet.cli import build_parser, main
from paper_unet.cli.common import with_flags
from paper_unet.errors import InputError
from paper_unet.images import open_stack, to_unit_range
from paper_unet.model import UNet
from paper_unet.networks.weights_file import save_model

PACKAGE = Path(paper_unet.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z]")
AT_HOME = {
    "settings.py": ["--range", "--map"],  # of options called otherwise
    "system/environment.py": ["--always", "--porcelain", "--untracked-files=no"],  # of git
}


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield every text of a module but the docstrings, which may tell of the command line."""
    documents = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in documents:
            yield text


def options_named(path: Path) -> list[str]:
    return [text for text in texts(ast.parse(path.read_text())) if OPTION.search(text)]


def test_no_message_of_the_library_names_an_option() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): options_named(path)
        for path in sorted(PACKAGE.rglob("*.py"))
        if "cli" not in path.relative_to(PACKAGE).parts
    }
    assert {name: said for name, said in found.items() if said} == AT_HOME


def test_the_scan_finds_an_option(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('"""--in a docstring"""\nx = f"give --fill {1}"\ny = "--"\n')
    assert options_named(tmp_path / "a.py") == ["give --fill "]


def settings_named() -> set[str]:
    """What stands between backticks in the library's own messages."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for text in texts(ast.parse(path.read_text())):
            found |= set(re.findall(r"`(\w+)`", text))
    return found


def test_every_setting_that_a_message_names_is_an_option_somewhere() -> None:
    parser = build_parser()
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    known = {action.dest for command in commands.choices.values() for action in command._actions}
    assert {"axes", "overwrite", "value_range"} <= settings_named() <= known


def test_the_command_line_puts_its_options_in(tmp_path: Path, capsys) -> None:
    with pytest.raises(InputError, match=r"`value_range` LOW HIGH"):
        to_unit_range(np.zeros((1, 1), np.uint16))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 2, 20, 20), "u1"), metadata={"axes": "QQYX"})
    with pytest.raises(InputError, match=r"name the axes with `axes`, one letter"):
        open_stack(tmp_path / "a.tif")
    assert main(["predict", str(tmp_path / "a.tif"), "-o", str(tmp_path / "b.tif")]) == 2
    said = capsys.readouterr().err
    assert "name the axes with --axes" in said
    assert "`" not in said


def test_what_is_no_option_of_a_command_is_named_plainly() -> None:
    command = argparse.ArgumentParser()
    command.add_argument("--range", dest="value_range")
    command.add_argument("source")
    assert with_flags("`value_range`, `source`, `none`", command) == "--range, source, none"


@pytest.mark.parametrize("pair", [("-1e3", "1e3"), ("-1.5E+3", "-.5"), ("-2", "+1e-2")])
def test_ranges_of_numbers_with_exponents(pair: tuple[str, str]) -> None:
    options = build_parser().parse_args(["predict", "a", "-o", "b", "--range", *pair])
    assert options.value_range == [float(word) for word in pair]


def test_what_only_begins_like_a_number_is_an_option(capsys) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["predict", "a", "-o", "b", "--range", "-1e3x", "1"])
    assert "--range" in capsys.readouterr().err


def test_no_message_tells_users_to_install_a_checkout() -> None:
    said = {text for path in PACKAGE.rglob("*.py") for text in texts(ast.parse(path.read_text()))}
    assert any("pip install" in text for text in said)
    assert not [text for text in said if "install -e" in text]


@pytest.mark.parametrize(
    "words",
    [
        "predict in.h5 -o out.tif",
        "predict in.h5 -o masks --release --weights net.safetensors",
        "segment p.h5 -o cells.tif",
        "evaluate cells.h5 p.h5",
        "evaluate cells.h5 cells.h5 --labels",
        "train --images in.h5 --labels cells.h5 --out run --steps 1 --width 1 --tile 188",
    ],
)
def test_commands_say_how_what_they_open_is_read(
    tmp_path: Path, monkeypatch, capsys, caplog, words: str
) -> None:
    """As of an HDF5 file of one data set: that it is taken."""
    h5py = pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)
    cells = np.zeros((2, 48, 48), np.uint8)
    cells[:, 8:40, 8:40] = 255
    for name in ("in", "p", "cells"):
        with h5py.File(f"{name}.h5", "w") as file:
            file["volumes/found"] = cells
    save_model("net.safetensors", UNet.release(width=1))
    assert main(words.split()) == 0
    said = capsys.readouterr().err + caplog.text
    for name in re.findall(r"\w+\.h5", words):
        assert f"{name}: its data set /volumes/found is read" in said
