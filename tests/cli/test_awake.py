"""What only talks is awake in a blink: it imports nothing that computes, and helps with a typo."""

import re
import subprocess
import sys

import pytest

from paper_unet.cli import main
from paper_unet.cli.common import Parser, add_settings, given_settings
from paper_unet.inference.settings import InferenceSettings
from paper_unet.release.settings import ReleaseSettings

HEAVY = {"torch", "scipy", "zarr", "skimage", "matplotlib", "tifffile", "PIL", "pooch", "dask"}
LOADED = "\nprint('loaded', *sorted({name.split('.')[0] for name in sys.modules}))"
RUN = """
from contextlib import suppress
from paper_unet.cli import main
with suppress(SystemExit):
    main(sys.argv[1:])
"""


def loaded(code: str, *arguments: str) -> set[str]:
    """The packages that a new process has loaded after some code."""
    command = [sys.executable, "-c", f"import sys\n{code}{LOADED}", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "words",
    ["--help", "--version", "size 572", "predcit", "predict --help", "train --help",
     "fetch nothing", "completion bash", "predict in.tif -o out.tif --enginee tiles",
     "train --widht 3", "evaluate"],
)  # fmt: skip
def test_nothing_that_computes_is_loaded(words: str) -> None:
    found = loaded(RUN, *words.split())
    assert "paper_unet" in found and not found & HEAVY


def test_the_package_is_imported_without_anything_heavy() -> None:
    assert not loaded("import paper_unet, paper_unet.large, paper_unet.datasets") & HEAVY
    assert "torch" in loaded("from paper_unet import UNet")  # so that the test can fail


@pytest.mark.parametrize(
    ("words", "suggested"),
    [
        ("predcit in.tif", "predict"),
        ("predict in.tif -o out.tif --enginee tiles", "--engine"),
        ("predict in.tif --outt out.tif", "--out"),
        ("predict in.tif -o out.tif --engine=tile", "tiles"),
        ("train --images a --labels b --network kerras", "keras"),
        ("evaluate a b --jsno", "--json"),
    ],
)
def test_a_typo_suggests_the_nearest(
    words: str, suggested: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    assert stopped.value.code == 2
    assert f"did you mean {suggested}?" in capsys.readouterr().err


def test_what_is_like_nothing_suggests_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "in.tif", "-o", "out.tif", "--xyzzy"])
    err = capsys.readouterr().err
    assert "no option is called --xyzzy" in err and "did you mean" not in err


def test_short_forms_of_options_still_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--im", "a", "--labels", "b", "--dry"]) == 0
    assert '"images": "a"' in capsys.readouterr().out


def test_the_version_is_what_a_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    found = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert found["torch"] == torch.__version__
    assert found["CUDA"].startswith(torch.version.cuda or "none")
    assert re.search(rf"capability .*{torch.backends.cpu.get_cpu_capability()}", found["CPU"])
    assert found.keys() >= {"paper-unet", "python"}


@pytest.mark.parametrize("kind", [ReleaseSettings, InferenceSettings])
def test_any_settings_become_options_and_come_back(kind: type) -> None:
    """Also those without a pair of grey values."""
    options = Parser()
    add_settings(options, kind)
    assert given_settings(options.parse_args([]), kind) == kind()
