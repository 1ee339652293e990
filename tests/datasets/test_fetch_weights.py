"""Fetching weights: as careful as with data, by a SHA-256 of what they hold."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets_helpers import Server, everything_below
from process_helpers import run_python
from safetensors import safe_open
from safetensors.torch import save

from paper_unet import UNet, load_model
from paper_unet.cli import main
from paper_unet.datasets import WEIGHTS, DataSet, ExpectedWeights, data_set, fetch
from paper_unet.errors import InputError
from paper_unet.networks.known_weights import FETCHED
from paper_unet.networks.tensor_file import FORMAT
from paper_unet.networks.weights_file import save_model

NAME, ALSO = "tiny-width1.safetensors", "tiny-seed0.float16.safetensors"


def weights_of(folder: Path, seed: int) -> bytes:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_model(folder / "made", UNet(width=1), dtype=torch.float16)
    data = (folder / "made").read_bytes()
    (folder / "made").unlink()
    return data


@pytest.fixture
def tiny(server: Server, tmp_path: Path) -> DataSet:
    """Weights as those of a release, served by the local server."""
    server.body = weights_of(tmp_path, 0)
    found = re.search(rb'sha256\\": \\"([0-9a-f]{64})', server.body)
    assert found is not None
    part = ExpectedWeights(NAME, found[1].decode(), len(server.body))
    url = server.url.rpartition("/")[0] + "/v1"
    return DataSet("weights", url, (part,), "free for tests", archive=False, also={NAME: (ALSO,)})


def refused(tiny: DataSet, to: Path, source: Path | None = None) -> str:
    """The one-line error of a fetch that must fail, and must leave nothing behind."""
    with pytest.raises(InputError) as caught:
        fetch(tiny, to, source)
    assert "\n" not in str(caught.value)
    assert everything_below(to) == []
    return str(caught.value)


def test_from_a_release(tiny, server, tmp_path, capfd):
    folder = fetch(tiny, tmp_path / "to")
    assert server.asked == f"/v1/{NAME}"
    assert everything_below(tmp_path / "to") == [f"weights/{NAME}"]
    assert (folder / NAME).read_bytes() == server.body
    assert load_model(folder / NAME).config.width == 1
    before = (folder / NAME).stat()
    assert fetch(tiny, tmp_path / "to") == folder
    assert server.requests == 1
    after = (folder / NAME).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", [NAME, ALSO])
@pytest.mark.parametrize("inside", ["", "weights"])
def test_from_a_folder_by_any_of_its_names(tiny, server, tmp_path, inside, name):
    (tmp_path / "from" / inside).mkdir(parents=True)
    (tmp_path / "from" / inside / name).write_bytes(server.body)
    folder = fetch(tiny, tmp_path / "to", tmp_path / "from")
    assert everything_below(tmp_path / "to") == [f"weights/{NAME}"]
    assert (folder / NAME).read_bytes() == server.body
    assert (tmp_path / "from" / inside / name).read_bytes() == server.body
    assert server.requests == 0


@pytest.mark.parametrize("name", [NAME, ALSO, "mine"])
def test_from_a_file_of_any_name(tiny, server, tmp_path, name):
    (tmp_path / name).write_bytes(server.body)
    folder = fetch(tiny, tmp_path / "to", tmp_path / name)
    assert (folder / NAME).read_bytes() == server.body
    assert server.requests == 0


def test_of_several_a_file_is_known_by_its_name(tiny, server, tmp_path):
    other = ExpectedWeights("other.safetensors", "0" * 64, 9, required=False)
    both = replace(tiny, parts=(*tiny.parts, other))
    for name in (ALSO, "mine"):
        (tmp_path / name).write_bytes(server.body)
    assert f"mine: has no {NAME}" in refused(both, tmp_path / "to", tmp_path / "mine")
    assert everything_below(fetch(both, tmp_path / "to", tmp_path / ALSO)) == [NAME]


def test_sources_that_lack_it(tiny, tmp_path):
    assert "none: no such folder" in refused(tiny, tmp_path / "to", tmp_path / "none")
    (tmp_path / "from").mkdir()
    message = refused(tiny, tmp_path / "to", tmp_path / "from")
    assert message.endswith(f"from: has no {NAME}; a folder with {NAME} is accepted")


def test_the_hash_covers_the_values_not_the_container(tiny, server, tmp_path):
    (tmp_path / "made").write_bytes(server.body)
    with safe_open(tmp_path / "made", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    server.body = save(tensors, {**metadata, "note": "another container"})
    folder = fetch(tiny, tmp_path / "to")
    assert (folder / NAME).read_bytes() == server.body


def cut(data: bytes) -> bytes:
    return data[:-100]


def flipped(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


def page(_: bytes) -> bytes:
    return b"<html>Please log in</html>"


def of_other_software(data: bytes) -> bytes:
    return data.replace(FORMAT.encode(), b"paper_unet-0")


@pytest.mark.parametrize("way", ["release", "folder", "file"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "not a complete safetensors file"),
        (page, "not a complete safetensors file"),
        (lambda _: b"", "not a complete safetensors file"),
        (flipped, "damaged, its SHA-256 is not"),
        (of_other_software, "holds no 'paper_unet-1' description"),
    ],
    ids=["cut", "page", "empty", "flipped", "other"],
)
def test_what_is_no_such_file(
    tiny: DataSet,
    server: Server,
    tmp_path: Path,
    change: Callable[[bytes], bytes],
    message: str,
    way: str,
) -> None:
    server.body = change(server.body)
    (tmp_path / NAME).write_bytes(server.body)
    source = {"release": None, "folder": tmp_path, "file": tmp_path / NAME}[way]
    said = refused(tiny, tmp_path / "to", source)
    assert said.startswith(f"{source or tiny.url}: {NAME}: ")
    assert message in said and ".partial" not in said
    assert (tmp_path / NAME).read_bytes() == server.body


@pytest.mark.parametrize("named", [NAME, "mine"])
def test_other_weights_name_both_hashes(tiny, server, tmp_path, named):
    other = weights_of(tmp_path, 1)
    server.body = other
    (tmp_path / named).write_bytes(other)
    for source in (None, tmp_path / named):
        message = refused(tiny, tmp_path / "to", source)
        assert "other weights than have this name" in message
        assert tiny.parts[0].sha256 in message
        assert re.findall("[0-9a-f]{64}", message)[1].encode() in other
    assert (tmp_path / named).read_bytes() == other


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_of_the_server(tiny, server, tmp_path, status):
    server.status, server.body = status, b"<html>sorry</html>"
    message = refused(tiny, tmp_path / "to")
    assert f"/v1/{NAME}: cannot be downloaded ({status}" in message
    assert "give its folder as `source`" in message


def test_a_download_that_breaks_off(tiny, server, tmp_path):
    server.declared, server.body = len(server.body), server.body[:-100]
    assert "cannot be downloaded" in refused(tiny, tmp_path / "to")


def test_no_more_bytes_than_it_has(tiny, server, tmp_path):
    server.body = bytes(tiny.max_bytes + 1)
    assert "sends more than was published" in refused(tiny, tmp_path / "to")
    (tmp_path / NAME).write_bytes(server.body)
    message = refused(tiny, tmp_path / "to", tmp_path)
    assert f"{NAME}: has {len(server.body)} bytes" in message


def test_a_wrong_file_that_is_there_is_named_and_kept(tiny, server, tmp_path):
    folder = fetch(tiny, tmp_path)
    other = weights_of(tmp_path, 1)
    for content in (other, b"mine"):
        (folder / NAME).write_bytes(content)
        with pytest.raises(InputError, match=f"weights/{NAME}: "):
            fetch(tiny, tmp_path)
        assert (folder / NAME).read_bytes() == content
    assert server.requests == 1


def test_what_is_in_the_way_stays(tiny, server, tmp_path):
    folder = tmp_path / "weights"
    (folder / NAME).mkdir(parents=True)
    (folder / "mine.safetensors").write_text("mine")
    with pytest.raises(InputError, match=f"{NAME}: is a folder, a regular file is needed"):
        fetch(tiny, tmp_path)
    (folder / NAME).rmdir()
    (folder / NAME).symlink_to("nowhere")
    with pytest.raises(InputError, match=f"{NAME}: a symbolic link that was not fetched"):
        fetch(tiny, tmp_path)
    assert (folder / NAME).readlink() == Path("nowhere")
    (folder / NAME).unlink()
    fetch(tiny, tmp_path)
    assert everything_below(folder) == ["mine.safetensors", NAME]


KILLED = """
import os, signal, sys
from paper_unet.networks import tensor_file
from paper_unet.datasets import DataSet, ExpectedWeights, fetch
tensor_file.read_tensors = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
name, digest, size = sys.argv[3:]
parts = (ExpectedWeights(name, digest, int(size)),)
fetch(DataSet("weights", "", parts, "", archive=False), sys.argv[1], sys.argv[2])
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_fetch_leaves_no_final_name(tiny, server, tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / NAME).write_bytes(server.body)
    part = tiny.parts[0]
    more = (str(tmp_path / "to"), str(tmp_path / "from"), NAME, part.sha256, str(part.size))
    assert run_python(KILLED, *more).returncode == -9
    folder = tmp_path / "to" / "weights"
    assert {p.name.partition("-")[0] for p in folder.iterdir()} == {".fetch"}
    fetch(tiny, tmp_path / "to", tmp_path / "from")
    assert {p.name for p in folder.iterdir()} == {NAME}


# the real ones


def test_the_table():
    assert data_set("weights") is WEIGHTS
    assert [part.name for part in WEIGHTS.parts] == [known.file for known in FETCHED]
    for part, known in zip(WEIGHTS.parts, FETCHED, strict=True):
        assert re.fullmatch("[0-9a-f]{64}", part.sha256)
        assert part.size <= part.max_bytes <= part.size + 2**20
        assert f"{known.name}: {known.what}" in WEIGHTS.terms
    for words in ("non-commercial", "10.1371/journal.pbio.1000502", "10.3389/fnana.2015.00142"):
        assert words in WEIGHTS.terms


def test_without_a_release_a_folder_is_asked_for(tmp_path, capsys):
    """Before anything is made for it."""
    assert WEIGHTS.url == ""
    assert main(["fetch", "weights", "--to", str(tmp_path / "to")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "nothing is published" in said and "isbi2012-width64.safetensors as --from" in said
    assert not (tmp_path / "to").exists()


@pytest.mark.data
def test_the_real_file(width64, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PAPER_UNET_DATA", str(tmp_path))
    assert main(["fetch", "weights", "--from", str(width64)]) == 0
    assert "non-commercial" in capsys.readouterr().out
    assert everything_below(tmp_path) == ["weights/isbi2012-width64.safetensors"]
    model = load_model("isbi2012-width64")
    assert (model.variant, model.config.width) == ("paper", 64)
    assert sum(p.numel() for p in model.parameters()) == 31_030_658
    assert model.grey_ranges == {"uint8": (0, 255)}
    assert (model.record["sections"], model.record["steps"]) == (24, 15_000)
