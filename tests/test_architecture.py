"""The order of the house: the paper at the front, wings behind it, and nothing imports upwards.

Read from the source, so imports within functions count too.
"""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import paper_unet

PACKAGE = Path(paper_unet.__file__).parent

# From the ground up; what shares a floor does not stand on itself in a circle.
FLOORS = [
    {"errors", "settings"},
    {"geometry", "networks.base", "model", "weight_map", "loss", "augment", "system"},
    {"images", "metrics", "synthetic"},
    {"networks", "datasets", "figures"},
    {"training", "inference"},
    {"large", "export"},
    {"segmentation"},
    {"release", "demo", "view", "reproduce"},
    {"cli"},
    {"__main__"},
]

# arrays in, arrays out: these touch no file
PURE = [
    "errors", "settings", "geometry", "model", "weight_map", "loss", "augment", "metrics",
    "synthetic", "figures",
]  # fmt: skip
PURE_MODULES = [
    *(f"segmentation.{name}" for name in ("flood", "numbering", "parts")),
    "training.config", "training.data", "training.tiles", "training.held_out",
    *(f"inference.{name}" for name in (
        "averaging", "layers", "memory", "pipeline", "section", "settings", "streaming", "tiled",
    )),
]  # fmt: skip

# what draws encodes its pictures in memory; the commands write them
IN_MEMORY = {"paper_unet.figures.style": {"io", "savefig"}}

SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in SOURCES}


def room(module: str) -> str:
    """The folder or root module that a module belongs to; empty for the package itself."""
    return (*module.split("."), "")[1]


def floor(module: str) -> int:
    """The floor of a module, from 0: its own where it has one, else that of its folder."""
    own = module.removeprefix("paper_unet.")
    return next(
        k for name in (own, room(module)) for k, names in enumerate(FLOORS) if name in names
    )


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
    loop = set(imported(MODULES["paper_unet.training.loop"]))
    assert {"torch", "paper_unet.networks.base", "paper_unet.training.tiles"} <= loop
    everything = {name for path in SOURCES for name in imported(path)}
    assert {"tifffile", "safetensors", "paper_unet.system.files"} <= everything
    assert len(MODULES) > 20
    assert "open" in {name for path in SOURCES for call in calls(path) for name in call.split(".")}


def test_nothing_stands_outside_the_tree() -> None:
    """At the root of the package: the paper, and the wings."""
    names = {name for names in FLOORS for name in names if "." not in name}
    there = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert there == names | {"__init__", "__init__.pyi", "py.typed"}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"paper_unet"}))
def test_nothing_imports_upwards(module: str) -> None:
    for name in imported(MODULES[module]):
        if name == "paper_unet":
            assert room(module) == "cli", "the library does not import its own front door"
        elif name.startswith("paper_unet."):
            assert floor(name) <= floor(module), f"{module} imports {name}"


NAMED = re.compile(r"\b(paper_unet(?:\.\w+)+):")
"""Modules in text that is looked up when it is needed, such as ``paper_unet.model:UNet``."""


def looked_up(path: Path) -> Iterator[str]:
    """Every module of the package that stands in such a text."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from NAMED.findall(node.value)


def test_the_reader_of_texts_sees_them() -> None:
    assert "paper_unet.networks.hub" in set(looked_up(MODULES["paper_unet.networks.base"]))
    assert "paper_unet.model" in set(looked_up(MODULES["paper_unet.networks.table"]))


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"paper_unet"}))
def test_nothing_is_looked_up_that_stands_above(module: str) -> None:
    """What is found by its name, too, is in the same wing, or below."""
    for name in looked_up(MODULES[module]):
        assert name in MODULES
        same = room(name) == room(module)
        assert same or floor(name) <= floor(module), f"{module} looks up {name}"


def test_nothing_imports_in_a_circle() -> None:
    graph = {
        module: {name for name in imported(path) if name in MODULES and name != "paper_unet"}
        for module, path in MODULES.items()
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("paper_unet.errors") < order.index("paper_unet.training.loop")


def test_no_two_wings_stand_on_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        inner = {name for name in imported(path) if name.startswith("paper_unet.")}
        rooms = {floored(name) for name in inner} - {floored(module)}
        graph.setdefault(floored(module), set()).update(rooms)
    assert len(list(TopologicalSorter(graph).static_order())) > 15  # raises CycleError


def floored(module: str) -> str:
    """The name under which a module stands on its floor."""
    own = module.removeprefix("paper_unet.")
    return own if any(own in names for names in FLOORS) else room(module)


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


@pytest.mark.parametrize("part", [*PURE, *PURE_MODULES])
def test_what_computes_touches_no_file(part: str) -> None:
    names = [m for m in MODULES if f"{m}.".startswith(f"paper_unet.{part}.")]
    assert names
    for module in names:
        path = MODULES[module]
        words = {name.split(".")[0] for name in imported(path)}
        assert words & FILE_MODULES <= IN_MEMORY.get(module, set())
        assert not any(name.startswith("paper_unet.images") for name in imported(path))
        found = {call.rsplit(".", 1)[-1] for call in calls(path)} & FILE_CALLS
        assert found <= IN_MEMORY.get(module, set())
        assert "io.open" not in set(calls(path))


SCRIPTS = [
    path
    for folder in ("experiments", "benchmarks", "docs")
    for path in sorted((PACKAGE.parent / folder).glob("*.py"))
]
OWN_LOOK = {"figsize", "fontsize", "labelsize", "dpi", "rcParams", "rc_context"}


def looks(path: Path) -> Iterator[str]:
    """What a source does about the look of figures that is the style's alone to do."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rsplit(".", 1)[-1]
            yield from (name for name in [name] if name in ("Figure", "savefig", "print_figure"))
            words = {keyword.arg for keyword in node.keywords if keyword.arg} & OWN_LOOK
            yield from (f"{name}({word}=)" for word in words)
        elif isinstance(node, ast.Attribute) and node.attr in OWN_LOOK:
            yield node.attr
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", "")}
            yield from (name for name in names if name and re.search(r"pyplot|pylab", name))


ALLOWED = {
    "paper_unet/figures/style.py": {"Figure", "Figure(figsize=)", "savefig"},
    "paper_unet/figures/architecture.py": {"text(fontsize=)"},  # of the small size of the style
    "experiments/records.py": {"save(dpi=)"},  # keeps what the style gave
}


@pytest.mark.parametrize("path", [*SOURCES, *SCRIPTS], ids=lambda path: path.name)
def test_every_figure_has_the_one_style(path: Path) -> None:
    mine = ALLOWED.get(str(path.relative_to(PACKAGE.parent)), set())
    assert set(looks(path)) == mine


def test_the_finder_of_looks_of_their_own_finds_them(tmp_path: Path) -> None:
    source = """
from matplotlib import pyplot as plt
figure = Figure(figsize=(3, 4))
figure.savefig("x", dpi=150)
axes.set_title("t", fontsize=8)
matplotlib.rcParams["font.size"] = 3
"""
    (tmp_path / "x.py").write_text(source)
    found = {"pyplot", "Figure", "Figure(figsize=)", "savefig", "savefig(dpi=)", "rcParams"}
    assert set(looks(tmp_path / "x.py")) == found | {"set_title(fontsize=)"}
    assert len(SCRIPTS) > 20


def test_images_are_read_and_written_in_one_place() -> None:
    """By `images` alone, and the others come in by its front door."""
    others = [name for name in MODULES if room(name) != "images"]
    assert len(others) > 50
    for module in others:
        names = set(imported(MODULES[module]))
        assert not {name.split(".")[0] for name in names} & {"tifffile", "zarr", "PIL", "numcodecs"}
        inner = {name for name in names if name.startswith("paper_unet.images.")}
        assert not inner, f"{module} imports {inner}"


def test_no_code_is_run_from_a_file() -> None:
    for path in SOURCES:
        words = {name.split(".")[0] for name in imported(path)}
        assert not words & {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
        assert not {"torch.load", "np.load", "eval", "exec", "__import__"} & set(calls(path))
