"""Every block of Python on a page runs, every command on it is one that the parser knows."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pages_helpers import DOCS, PAGES, ROOT, TUTORIALS, blocks, commands, literal_blocks

from paper_unet.cli import build_parser
from paper_unet.system.folders import data_folder

STACK = "import numpy as np\nstack = np.zeros((1, 40, 50), np.uint8)\n"
LABELS = (
    "import numpy as np\nlabels = np.full((1, 20, 20), 255, np.uint8)\nlabels[:, :, 9] = 0\n"
    "interior = (labels > 0).astype(np.float32)\n"
    "reference_images = result_images = [(labels[0] > 0).astype(np.uint8)]\n"
)
GRAPH = (
    "import numpy as np\nfrom paper_unet.export.run import export_file\n"
    "image = np.zeros((40, 50), np.uint8)\nexport_file('bundled', 'model.onnx')\n"
)
BEFORE = {"README.md": STACK, "docs/metrics.md": LABELS, "docs/export.md": GRAPH}
"""What a page takes as given."""

ELSEWHERE = {
    "SLURMCluster(": "tests/large/test_cluster.py::test_slurm_through_dask_jobqueue",
    "model.push_to_hub(": "tests/networks/test_hub.py::test_what_is_put_on_the_hub",
    "class NpyStack(Stack):":
        "tests/images/test_formats.py::test_a_prediction_from_and_to_what_is_from_outside",
    "class MyNetwork(Network):":
        "tests/test_tables.py::test_a_network_from_outside_trains_predicts_and_is_read_back",
    "def dice(labels, interior):  # (Z, Y, X) each\n    return value":
        "tests/test_tables.py::test_a_metric_from_outside_is_computed_and_shown",
}  # fmt: skip
"""Outlines, and what needs a batch system: blocks with this text, and the test that runs them."""

NEED_DATA = {"docs/api/data.md": ("isbi2012", "DIC-C2DH-HeLa")}
"""Pages with blocks that read data sets, which may be absent."""

WITH_PYTHON = [name for name, path in PAGES.items() if any(blocks(path.read_text(), "python"))]


def test_the_blocks_are_seen() -> None:
    """So that the tests below cannot pass by seeing nothing."""
    assert {"README.md", "docs/metrics.md", "docs/api/metrics.md"} <= set(WITH_PYTHON)
    assert list(commands("paper-unet size \\\n  512 # pixels\npip x && paper-unet demo > log")) == [
        ["size", "512"], ["demo"],
    ]  # fmt: skip
    found = [command for path in TUTORIALS for command in commands_of(path)]
    assert len(found) > 6 and ["predict", "stack.tif", "-o", "probability.tif"] in found
    assert len([c for path in PAGES.values() for c in commands_of(path)]) > 30


def given_data(name: str) -> Path | None:
    import os

    places = [os.environ.get("PAPER_UNET_DATA"), ROOT.parent / "shared" / "data", data_folder()]
    wanted = NEED_DATA.get(name, ())
    for place in (Path(p) for p in places if p):
        if all((place / folder).is_dir() for folder in wanted):
            return place
    return None


@pytest.mark.parametrize("name", WITH_PYTHON)
def test_the_python_of_a_page_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One block after the other, in one namespace and an empty folder."""
    monkeypatch.chdir(tmp_path)
    place = given_data(name)
    if place is not None:
        monkeypatch.setenv("PAPER_UNET_DATA", str(place))
    module = ModuleType("a_page")
    monkeypatch.setitem(sys.modules, "a_page", module)
    exec(BEFORE.get(name, ""), module.__dict__)  # noqa: S102
    for block in blocks(PAGES[name].read_text(), "python"):
        code = compile(block, name, "exec")
        if not any(text in block for text in ELSEWHERE) and not (
            place is None and "data_folder()" in block
        ):
            exec(code, module.__dict__)  # noqa: S102


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_what_runs_elsewhere_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("text", ELSEWHERE)
def test_no_page_is_excused_that_is_gone(text: str) -> None:
    assert any(text in path.read_text() for path in PAGES.values())


def commands_of(path: Path) -> list[list[str]]:
    text = path.read_text()
    if path.suffix == ".py":
        shell = list(literal_blocks(text))
    else:
        shell = [block for word in ("", "sh", "bash", "console") for block in blocks(text, word)]
    return [command for block in shell for command in commands(block)]


SOURCES = {**PAGES, **{str(path.relative_to(ROOT)): path for path in TUTORIALS}}


@pytest.mark.parametrize("name", [name for name, path in SOURCES.items() if commands_of(path)])
def test_the_commands_of_a_page_are_understood(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in commands_of(SOURCES[name]):
        if {"--help", "--version"} & set(words):
            continue
        written = [word.strip("[]") for word in words]  # [--json]: may be left out
        try:
            build_parser().parse_args(written)
        except SystemExit:
            pytest.fail(f"paper-unet {' '.join(words)}: {capsys.readouterr().err}")


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_script_that_is_called_is_there(name: str) -> None:
    for script in re.findall(
        r"\bpython ((?:experiments|benchmarks)/\w+\.py)", PAGES[name].read_text()
    ):
        assert (ROOT / script).is_file(), script


def documented(text: str) -> list[str]:
    """The full names of what a page of the API documents."""
    module, found = "", []
    for kind, name in re.findall(r"^\.\. (currentmodule|auto\w+):: ([\w.]+)", text, re.MULTILINE):
        if kind == "currentmodule":
            module = name
        else:
            found.append(name if name.startswith("paper_unet.") else f"{module}.{name}")
    return found


API = sorted((DOCS / "api").glob("*.md"))


def test_the_front_door_is_documented_once() -> None:
    import paper_unet

    found = [name for page in API for name in documented(page.read_text())]
    assert len(found) == len(set(found))
    assert {f"paper_unet.{name}" for name in paper_unet.__all__} <= set(found)
    assert not any(part.startswith("_") for name in found for part in name.split("."))


@pytest.mark.parametrize("page", API, ids=lambda page: page.stem)
def test_each_public_name_has_an_example(page: Path) -> None:
    text = page.read_text()
    code = "\n".join(blocks(text, "python"))
    names = [name.rpartition(".")[2] for name in documented(text)]
    assert names
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_file_that_is_named_is_there(name: str) -> None:
    """Tests, scripts and results that a page names between backticks.

    docs/faults.md names tests as they lie in the folder of tests, which has a folder
    experiments, too.
    """
    text = PAGES[name].read_text()
    folders = "tests|experiments|benchmarks|paper_unet|docs"
    for found in re.findall(rf"`((?:{folders})/[\w/.-]+)(?:::\w+)?`", text):
        roots = [ROOT, ROOT / "tests"] if name == "docs/faults.md" else [ROOT]
        assert any((root / found).exists() for root in roots), found
