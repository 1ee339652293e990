"""The order of the house: a module imports only from what stands before it in the flow.

Read from the source, so imports within functions count too.
"""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import paper_unet

PACKAGE = Path(paper_unet.__file__).parent

# design/style.md: arrays, samples, network, loss, train, predict, metrics, figures. What stores
# weights stands before what trains, because training leaves checkpoints.
FLOW = [
    "errors", "device", "stop",
    "geometry", "images", "cells", "datasets", "synthetic",
    "weight_map", "augment", "samples",
    "model", "variants", "caffe", "loss",
    "config", "validation", "checkpoint", "run_folder", "start", "train",
    "layers", "passes", "procedure", "stream", "regions", "release", "predict", "seams",
    "pieces", "memory", "plan", "journal", "large",
    "metrics", "scoring", "figures", "drawings",
    "environment", "demo",
    "cli",
]  # fmt: skip

# arrays in, arrays out: these touch no file
PURE = [
    "errors", "geometry", "synthetic", "weight_map", "cells", "augment", "samples", "model",
    "variants", "loss",
    "config", "validation", "metrics", "scoring", "figures", "drawings",
]  # fmt: skip

SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in SOURCES}


def room(module: str) -> str:
    """The part of the package that a module belongs to; empty for the package itself."""
    return (*module.split("."), "")[1]


def imported(path: Path) -> Iterator[str]:
    """Every module that a source file names in an import, wherever in the file."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:  # a name may be a module of its own
                full = f"{source}.{alias.name}"
                yield full if full in MODULES else source


def calls(path: Path) -> Iterator[str]:
    """The dotted name of everything that a source file calls."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_the_reader_of_imports_sees_them() -> None:
    """So that the tests below cannot pass by seeing nothing."""
    train = set(imported(PACKAGE / "train.py"))
    assert {"torch", "paper_unet.model", "paper_unet.samples", "paper_unet.loss"} <= train
    everything = {name for path in SOURCES for name in imported(path)}
    assert {"tifffile", "safetensors", "paper_unet.images.files"} <= everything
    assert len(MODULES) > 20
    assert "open" in {name for path in SOURCES for call in calls(path) for name in call.split(".")}


def test_every_module_has_its_place_in_the_flow() -> None:
    assert {room(module) for module in MODULES} - {""} == set(FLOW)


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"paper_unet"}))
def test_a_module_imports_only_from_what_stands_before_it(module: str) -> None:
    here = FLOW.index(room(module))
    for name in imported(MODULES[module]):
        if name == "paper_unet":
            assert room(module) == "cli", "the library does not import its own front door"
        elif name.startswith("paper_unet."):
            there = FLOW.index(room(name))
            assert there < here or room(name) == room(module), f"{module} imports {name}"


def test_nothing_imports_in_a_circle() -> None:
    graph = {
        module: {name for name in imported(path) if name in MODULES and name != "paper_unet"}
        for module, path in MODULES.items()
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("paper_unet.errors") < order.index("paper_unet.train")


def test_the_library_imports_no_script_and_no_test() -> None:
    for path in SOURCES:
        first_words = {name.split(".")[0] for name in imported(path)}
        assert not first_words & {"experiments", "benchmarks", "tests", "conftest", "pytest"}
        if room(module_name(path)) != "cli":
            assert "argparse" not in first_words
            assert not {"sys.exit", "exit", "input", "print"} & set(calls(path))


FILE_MODULES = {
    "builtins", "fileinput", "fcntl", "imageio", "io", "mmap", "pathlib", "pickle", "PIL", "pooch",
    "safetensors", "shelve", "shutil", "sqlite3", "tempfile", "tifffile", "zarr", "zipfile",
}  # fmt: skip
FILE_CALLS = {
    "open", "fopen", "read_text", "read_bytes", "write_text", "write_bytes", "imread", "imwrite",
    "imsave", "savefig", "fromfile", "tofile", "loadtxt", "savetxt", "savez", "memmap", "unlink",
    "mkdir", "makedirs", "save", "load",
}  # fmt: skip


@pytest.mark.parametrize("part", PURE)
def test_what_computes_touches_no_file(part: str) -> None:
    paths = [path for path in SOURCES if room(module_name(path)) == part]
    assert paths
    for path in paths:
        words = {name.split(".")[0] for name in imported(path)}
        assert not words & FILE_MODULES
        assert "paper_unet.images" not in set(imported(path))
        assert not {call.rsplit(".", 1)[-1] for call in calls(path)} & FILE_CALLS


def test_no_code_is_run_from_a_file() -> None:
    for path in SOURCES:
        words = {name.split(".")[0] for name in imported(path)}
        assert not words & {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
        assert not {"torch.load", "np.load", "eval", "exec", "__import__"} & set(calls(path))
