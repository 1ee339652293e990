"""Fetching stacks, and what a server can do."""

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from datasets_helpers import (
    EXTRA,
    NAMES,
    PIXELS,
    archive_of,
    everything_below,
    refused,
    tiff_files,
    tiff_of,
)
from process_helpers import run_python

from paper_unet.datasets import downloading, fetch, fetching
from paper_unet.errors import InputError
from paper_unet.system.claim import take_claim

# fetching


def test_fetch_from_the_archive(tiny, server, tmp_path, capfd):
    folder = fetch(tiny, tmp_path / "new" / "data")
    assert folder == tmp_path / "new" / "data" / "tiny"
    assert everything_below(folder) == sorted(NAMES)
    for name in NAMES:
        np.testing.assert_array_equal(tifffile.imread(folder / name), PIXELS[name])
    assert server.requests == 1
    assert capfd.readouterr() == ("", "")


def test_what_is_there_and_right_is_not_fetched_again(tiny, server, tmp_path):
    folder = fetch(tiny, tmp_path)
    before = {name: (folder / name).stat().st_ino for name in NAMES}
    fetch(tiny, tmp_path)
    assert server.requests == 1
    (folder / NAMES[1]).unlink()
    fetch(tiny, tmp_path)
    assert server.requests == 2
    kept = {name: (folder / name).stat().st_ino for name in NAMES}
    assert (kept[NAMES[0]], kept[NAMES[2]]) == (before[NAMES[0]], before[NAMES[2]])
    np.testing.assert_array_equal(tifffile.imread(folder / NAMES[1]), PIXELS[NAMES[1]])


def test_a_wrong_file_that_is_there_is_named_and_kept(tiny, server, tmp_path):
    folder = fetch(tiny, tmp_path)
    mine = tiff_of(255 - PIXELS[NAMES[0]])
    (folder / NAMES[0]).write_bytes(mine)
    with pytest.raises(InputError, match=r"train-volume\.tif: other pixels than published"):
        fetch(tiny, tmp_path)
    assert (folder / NAMES[0]).read_bytes() == mine
    assert server.requests == 1


def test_the_optional_file_is_taken_if_there(tiny, server, tmp_path):
    server.body = archive_of(tiff_files(**{EXTRA: tiff_of(PIXELS[NAMES[1]])}))
    assert everything_below(fetch(tiny, tmp_path)) == sorted((*NAMES, EXTRA))


def test_the_optional_file_is_checked_for_its_shape(tiny, server, tmp_path):
    server.body = archive_of(tiff_files(**{EXTRA: tiff_of(np.zeros((6, 7), np.uint8))}))
    assert "test-labels.tif is uint8 of shape (5, 16, 24)" in refused(tiny, tmp_path)


def test_the_hash_covers_the_pixels_not_the_container(tiny, server, tmp_path):
    container = io.BytesIO()
    tifffile.imwrite(container, PIXELS[NAMES[0]], compression="zlib", bigtiff=True, byteorder=">")
    server.body = archive_of(tiff_files(**{NAMES[0]: container.getvalue()}))
    folder = fetch(tiny, tmp_path)
    assert (folder / NAMES[0]).read_bytes() == container.getvalue()


@pytest.mark.parametrize("inside", ["", "tiny", "Tiny-challenge"])
def test_fetch_from_a_folder(tiny, server, tmp_path, inside):
    (tmp_path / "from" / inside).mkdir(parents=True)
    for name in NAMES:
        (tmp_path / "from" / inside / name).write_bytes(tiff_of(PIXELS[name]))
    folder = fetch(tiny, tmp_path / "to", tmp_path / "from")
    assert everything_below(folder) == sorted(NAMES)
    assert server.requests == 0


@pytest.mark.parametrize("given", ["", "Tiny-challenge.zip"])
def test_fetch_from_an_archive_on_disk(tiny, server, tmp_path, given):
    (tmp_path / "Tiny-challenge.zip").write_bytes(server.body)
    folder = fetch(tiny, tmp_path / "to", tmp_path / given)
    assert everything_below(folder) == sorted(NAMES)
    assert server.requests == 0


def test_sources_that_lack_files(tiny, tmp_path):
    assert "none: no such folder" in refused(tiny, tmp_path, tmp_path / "none")
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / NAMES[0]).write_bytes(tiff_of(PIXELS[NAMES[0]]))
    message = refused(tiny, tmp_path, tmp_path / "from")
    assert "from: has no train-labels.tif, test-volume.tif" in message


def test_wrong_pixels_name_file_and_hashes(tiny, server, tmp_path):
    wrong = PIXELS[NAMES[2]].copy()
    wrong[1, 2, 3] ^= 1
    server.body = archive_of(tiff_files(**{NAMES[2]: tiff_of(wrong)}))
    message = refused(tiny, tmp_path)
    assert NAMES[2] in message
    assert hashlib.sha256(PIXELS[NAMES[2]].tobytes()).hexdigest() in message
    assert hashlib.sha256(wrong.tobytes()).hexdigest() in message


def test_what_is_wrong_is_named_by_its_source(tiny, server, tmp_path):
    """Not by where it lay for a moment, and nothing of the user's is to be removed."""
    (tmp_path / "from").mkdir()
    files = {name: tiff_of(PIXELS[name]) for name in NAMES} | {NAMES[2]: tiff_of(PIXELS[NAMES[1]])}
    for name, data in files.items():
        (tmp_path / "from" / name).write_bytes(data)
    server.body = archive_of(files)
    for source in (None, tmp_path / "from"):
        message = refused(tiny, tmp_path, source)
        assert message.startswith(f"{source or tiny.url}: {NAMES[2]}: other pixels than published")
        assert "remove" not in message and ".partial" not in message


def test_a_copy_that_is_too_large(tiny, tmp_path):
    (tmp_path / "from").mkdir()
    for name in NAMES:
        (tmp_path / "from" / name).write_bytes(tiff_of(PIXELS[name]))
    with (tmp_path / "from" / NAMES[1]).open("r+b") as file:
        file.truncate(tiny.max_bytes + 1)
    message = refused(tiny, tmp_path, tmp_path / "from")
    assert f"{NAMES[1]}: has {tiny.max_bytes + 1} bytes" in message


def test_wrong_size_and_type(tiny, server, tmp_path):
    for wrong in (PIXELS[NAMES[0]][:, :8], PIXELS[NAMES[0]].astype(np.uint16)):
        server.body = archive_of(tiff_files(**{NAMES[0]: tiff_of(wrong)}))
        assert f"{wrong.dtype} of shape {wrong.shape}" in refused(tiny, tmp_path)


def test_a_truncated_stack_inside_the_archive(tiny, server, tmp_path):
    server.body = archive_of(tiff_files(**{NAMES[0]: tiff_of(PIXELS[NAMES[0]])[:-300]}))
    assert "truncated" in refused(tiny, tmp_path)


# what a server can do


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_of_the_server(tiny, server, tmp_path, status):
    server.status, server.body = status, b"<html>sorry</html>"
    message = refused(tiny, tmp_path)
    assert f"cannot be downloaded ({status}" in message
    assert "give its folder as `source`" in message


def test_an_error_page_in_place_of_the_archive(tiny, server, tmp_path):
    server.body = b"<html>Please log in</html>"
    assert "not a sound zip file" in refused(tiny, tmp_path)


def test_a_download_that_breaks_off(tiny, server, tmp_path):
    server.declared, server.body = len(server.body), server.body[:-100]
    assert "cannot be downloaded" in refused(tiny, tmp_path)


def test_an_archive_that_was_cut_short(tiny, server, tmp_path):
    server.body = server.body[:-100]
    assert "not a sound zip file" in refused(tiny, tmp_path)


def test_a_download_without_end(tiny, server, tmp_path):
    server.body = bytes(4 * tiny.max_bytes + 1)
    assert "sends more than was published" in refused(tiny, tmp_path)


def test_no_server(tiny, tmp_path):
    gone = replace(tiny, url="http://127.0.0.1:9/Tiny-challenge.zip")
    assert "cannot be downloaded" in refused(gone, tmp_path)


KILLED = """
import os, signal, sys
from paper_unet.datasets import expected
from paper_unet.datasets import DataSet, ExpectedStack, fetch
expected.read_verified = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
stacks = tuple(ExpectedStack(name, (5, 16, 24), None) for name in sys.argv[3:])
fetch(DataSet("tiny", "http://127.0.0.1:9/x.zip", stacks, ""), sys.argv[1], sys.argv[2])
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_fetch_leaves_no_final_name(tiny, tmp_path):
    source = tmp_path / "from"
    source.mkdir()
    for name in NAMES:
        (source / name).write_bytes(tiff_of(PIXELS[name]))
    assert run_python(KILLED, str(tmp_path / "to"), str(source), *NAMES).returncode == -9
    folder = tmp_path / "to" / "tiny"
    assert {p.name.partition("-")[0] for p in folder.iterdir()} == {".fetch"}
    mine = {f".fetch-{'0' * 32}.partial", ".fetch-abcdefgh.partial", "notes.partial"}
    for name in mine:
        (folder / name).mkdir()
    fetch(tiny, tmp_path / "to", source)
    assert {p.name for p in folder.iterdir()} == {*NAMES, *mine}


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_what_a_killed_fetch_left_goes_also_if_all_is_there(tiny, tmp_path):
    source = tmp_path / "from"
    source.mkdir()
    for name in NAMES:
        (source / name).write_bytes(tiff_of(PIXELS[name]))
    fetch(tiny, tmp_path / "to", source)
    folder = tmp_path / "to" / "tiny"
    claim = take_claim(folder / ".fetch", "fetch", "taken")
    (folder / f".fetch-{claim.token}.partial" / "01").mkdir(parents=True)
    with pytest.raises(InputError, match="another process is fetching it"):
        fetch(tiny, tmp_path / "to", source)
    claim.release(keep=True)
    fetch(tiny, tmp_path / "to", source)
    assert {p.name for p in folder.iterdir()} == set(NAMES)


def test_what_has_the_names_of_a_fetch_is_left_alone(tiny, tmp_path):
    source, folder = tmp_path / "from", tmp_path / "to" / "tiny"
    source.mkdir()
    for name in NAMES:
        (source / name).write_bytes(tiff_of(PIXELS[name]))
    folder.mkdir(parents=True)
    (folder / ".fetch").write_text("mine")
    with pytest.raises(InputError, match=r"\.fetch: is no lock of a fetch and stays as it is"):
        fetch(tiny, tmp_path / "to", source)
    (folder / ".fetch").unlink()
    (folder / NAMES[1]).symlink_to("nowhere")
    with pytest.raises(InputError, match=f"{NAMES[1]}: a symbolic link that was not fetched"):
        fetch(tiny, tmp_path / "to", source)
    assert (folder / NAMES[1]).readlink() == Path("nowhere")
    assert not list(folder.glob(".fetch*"))


FETCHES = """
import os, sys
from paper_unet.datasets import DataSet, ExpectedStack, fetch
stacks = tuple(ExpectedStack(name, (5, 16, 24), None) for name in sys.argv[3:])
fetch(DataSet("tiny", "http://127.0.0.1:9/x.zip", stacks, ""), sys.argv[1], sys.argv[2])
"""


def test_what_another_process_fetched_meanwhile_is_kept(tiny, server, tmp_path, monkeypatch):
    """The check for what is missing comes before the lock, and again under it."""
    source = tmp_path / "from"
    source.mkdir()
    for name in NAMES:
        (source / name).write_bytes(tiff_of(PIXELS[name]))
    made = fetching.make_folder

    def after_the_other(folder: Path) -> None:
        monkeypatch.setattr(fetching, "make_folder", made)
        run = run_python(FETCHES, str(tmp_path / "to"), str(source), *NAMES)
        assert run.returncode == 0, run.stderr
        made(folder)

    monkeypatch.setattr(fetching, "make_folder", after_the_other)
    folder = fetch(tiny, tmp_path / "to")
    assert server.requests == 0
    assert everything_below(folder) == sorted(NAMES)


@pytest.mark.parametrize("after", [0, 1000])
def test_a_server_that_drips_has_a_deadline(tiny, server, tmp_path, monkeypatch, after):
    """A byte now and then keeps each answer within its time, in the headers and in the body."""
    monkeypatch.setattr(downloading, "DEADLINE", 0.5)
    server.drips_after = after
    message = refused(tiny, tmp_path)
    assert "is not downloaded after 0.5 seconds" in message
    assert "--" not in message
