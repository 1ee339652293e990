"""Completion, in a bash of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from paper_unet.cli import main
from paper_unet.cli.completion import SHELLS

shtab = pytest.importorskip("shtab")

ASK = """
source ./script
COMP_WORDS=({words} {last!r})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
COMP_LINE="${{COMP_WORDS[*]}}"
COMP_POINT=${{#COMP_LINE}}
declare -F compopt > /dev/null || compopt() {{ :; }}
function=$(complete -p paper-unet | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def bash() -> str:
    found = shutil.which("bash")
    if found is None:
        pytest.skip("no bash")
    return found


@pytest.fixture
def script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["completion", "bash"]) == 0
    Path("script").write_text(capsys.readouterr().out)
    return tmp_path


def completed(bash: str, words: str, last: str) -> set[str]:
    """What bash offers for the last word of a line."""
    ask = ASK.format(words=words, last=last)
    run = subprocess.run([bash, "-c", ask], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return set(run.stdout.split())


def test_bash_completes_commands_options_words_and_files(script: Path, bash: str) -> None:
    assert completed(bash, "paper-unet", "pre") == {"predict"}
    assert completed(bash, "paper-unet", "evaluate") == {"evaluate", "evaluate-cells"}
    assert completed(bash, "paper-unet predict", "--prec") == {"--precision"}
    assert completed(bash, "paper-unet train --network", "pap") == {"paper", "paper_batch_norm"}
    assert completed(bash, "paper-unet fetch", "isbi") == {"isbi2012"}
    (script / "stack.tif").touch()
    (script / "weights.safetensors").touch()
    assert completed(bash, "paper-unet predict", "sta") == {"stack.tif"}
    assert completed(bash, "paper-unet predict --weights", "wei") == {"weights.safetensors"}


def test_fish_completes_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("no fish")
    monkeypatch.chdir(tmp_path)
    assert main(["completion", "fish"]) == 0
    Path("script").write_text(capsys.readouterr().out)
    Path("stack.tif").touch()
    for line, expected in {
        "paper-unet pre": {"predict"},
        "paper-unet evaluate": {"evaluate", "evaluate-cells"},
        "paper-unet predict --prec": {"--precision"},
        "paper-unet train --network pap": {"paper", "paper_batch_norm"},
        "paper-unet predict sta": {"stack.tif"},
    }.items():
        ask = [fish, "--no-config", "-c", f"source script; complete -C '{line}'"]
        run = subprocess.run(
            ask, capture_output=True, text=True, check=True, env={**os.environ, "HOME": "."}
        )
        assert run.stderr == ""
        assert {found.split("\t")[0] for found in run.stdout.splitlines()} == expected


def test_every_shell_that_is_named_is_known_to_the_library() -> None:
    assert set(SHELLS) <= set(shtab.SUPPORTED_SHELLS)


@pytest.mark.parametrize("shell", sorted({*SHELLS} - {"bash"}))
def test_other_shells_get_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "evaluate-cells" in capsys.readouterr().out
