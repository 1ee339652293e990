"""Zarr over HTTP: equal pixels from servers of many kinds, patience, and what a refusal shows."""

import base64
import logging
import pickle
import re
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

pytest.importorskip("obstore")
from remote_helpers import FAILURES, Faults, file_server

from paper_unet.errors import InputError, without_secrets
from paper_unet.images import absolute, open_stack, read_stack
from paper_unet.images.ome_metadata import ome_attributes
from paper_unet.images.readers import remote
from paper_unet.images.remote import connect, patience
from paper_unet.images.remote.failures import failure_of
from paper_unet.system.address import Address, address_of
from paper_unet.system.files import refuse_same_file

SHAPE = (5, 70, 90)
PIXELS = np.random.default_rng(0).integers(1, 255, SHAPE, np.uint8)
DAMAGE = "https://me:pw@host.org:80/a.zarr?X-Amz-Signature=SECRET"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shorter pauses than those of the network."""
    monkeypatch.setattr(connect, "STALL", 0.5)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(patience, "LONGEST_PAUSE", 0.05)
    patience.SAID.clear()
    yield


def make(path: Path, **more: object) -> Path:
    given = {"chunks": (1, 32, 32), "shape": SHAPE, "dtype": "uint8", **more}
    zarr.create_array(path, **given)[...] = PIXELS  # type: ignore[arg-type]
    return path


def ome(path: Path, version: str, *, consolidated: bool = False) -> Path:
    """Write an OME-Zarr of one level."""
    kind = 2 if version == "0.4" else 3
    attributes = ome_attributes(version, 1, (0.05, 0.004, 0.004))
    group = zarr.create_group(path, zarr_format=kind, attributes=attributes)
    group.create_array("0", shape=SHAPE, chunks=(2, 32, 32), dtype="uint8")[...] = PIXELS
    if consolidated:
        zarr.consolidate_metadata(path, zarr_format=kind)
    return path


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("stores")
    make(tmp_path / "v2.zarr", zarr_format=2, chunks=(2, 32, 32))
    make(tmp_path / "v2 slash.zarr", zarr_format=2,
         chunk_key_encoding={"name": "v2", "separator": "/"})  # fmt: skip
    make(tmp_path / "v3.zarr")
    make(tmp_path / "shards.zarr", chunks=(1, 16, 16), shards=(2, 32, 32))
    ome(tmp_path / "ome4.zarr", "0.4")
    ome(tmp_path / "ome5.zarr", "0.5")
    return tmp_path


@pytest.fixture
def folder(stores: Path, tmp_path: Path) -> Path:
    """Return a folder of stores that a test may change."""
    return Path(shutil.copytree(stores, tmp_path / "stores"))


@pytest.mark.parametrize(
    "name", ["v2.zarr", "v2 slash.zarr", "v3.zarr", "shards.zarr", "ome4.zarr", "ome5.zarr/0"]
)
def test_every_tenth_request_fails(folder: Path, name: str) -> None:
    faults = Faults(every=10)
    with file_server(folder, faults) as url:
        for _ in range(3):
            np.testing.assert_array_equal(read_stack(f"{url}/{name}/"), PIXELS)
    assert set(faults.failed) == set(FAILURES) or len(faults.failed) > 3


@pytest.mark.parametrize(
    "server",
    [
        {"ranges": False}, {"tags": False}, {"heads": False}, {"missing": 403}, {"missing": 401},
        {"missing": 410}, {"pages": True},
    ],
    ids=str,
)  # fmt: skip
def test_kinds_of_servers(folder: Path, server: dict[str, object]) -> None:
    with file_server(folder, **server) as url:  # type: ignore[arg-type]
        for name in ("v2.zarr", "shards.zarr", "ome4.zarr"):
            np.testing.assert_array_equal(read_stack(f"{url}/{name}"), PIXELS)
        with pytest.raises(InputError, match=r"no Zarr is there|cannot read it") as caught:
            open_stack(f"{url}/nothing.zarr")
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_consolidated_metadata_and_the_size_of_a_pixel(tmp_path: Path, version: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.filters", [("ignore", None, Warning, None, 0)])
        ome(tmp_path / "a.zarr", version, consolidated=True)
    with file_server(tmp_path) as url, open_stack(f"{url}/a.zarr") as stack:
        np.testing.assert_array_equal(stack[4], PIXELS[4])
        assert stack.pixel_size == (0.05, 0.004, 0.004)


def test_a_server_that_does_not_say_how_long_its_answers_are(folder: Path) -> None:
    with (
        file_server(folder, lengths=False) as url,
        pytest.raises(InputError, match="does not say how long its answers are; check"),
    ):
        open_stack(f"{url}/v3.zarr")


def test_a_channel_and_the_shards_that_it_needs(tmp_path: Path) -> None:
    pixels = np.stack([PIXELS, PIXELS[:, ::-1]], axis=1)
    group = zarr.create_group(tmp_path / "a.zarr", attributes=channel_attributes())
    array = group.create_array(
        "0", shape=pixels.shape, chunks=(1, 1, 16, 16), shards=(2, 2, 32, 32), dtype="uint8"
    )
    array[...] = pixels
    array[2:4, 0] = 0  # then these chunks of channel 0 are not stored
    with file_server(tmp_path) as url:
        found = read_stack(f"{url}/a.zarr", channel="second")
        np.testing.assert_array_equal(found, pixels[:, 1])
        with pytest.raises(InputError, match="are missing"):
            read_stack(f"{url}/a.zarr", channel=0)
        with pytest.raises(InputError, match="channel"):
            open_stack(f"{url}/a.zarr")


def channel_attributes() -> dict[str, object]:
    axes = [{"name": "z", "type": "space"}, {"name": "c", "type": "channel"},
            {"name": "y", "type": "space"}, {"name": "x", "type": "space"}]  # fmt: skip
    scale = {"type": "scale", "scale": [1, 1, 1, 1]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    channels = [{"label": "first"}, {"label": "second"}]
    said = {"axes": axes, "datasets": datasets}
    return {"ome": {"version": "0.5", "multiscales": [said], "omero": {"channels": channels}}}


def test_roots_of_bioformats2raw_and_plates(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "one.zarr", zarr_format=2,
                      attributes={"bioformats2raw.layout": 3})  # fmt: skip
    ome(tmp_path / "one.zarr/0", "0.4")
    zarr.create_group(tmp_path / "two.zarr", zarr_format=2)
    ome(tmp_path / "two.zarr/0", "0.4")
    ome(tmp_path / "two.zarr/1", "0.4")
    plate = {"plate": {"wells": [{"path": "A/1"}]}}
    zarr.create_group(tmp_path / "plate.zarr", zarr_format=2, attributes=plate)
    well = {"well": {"images": [{"path": "0"}]}}
    zarr.create_group(tmp_path / "plate.zarr/A/1", zarr_format=2, attributes=well)
    ome(tmp_path / "plate.zarr/A/1/0", "0.4")
    with file_server(tmp_path) as url:
        for name in ("one.zarr", "two.zarr/1", "plate.zarr", "plate.zarr/A/1/0"):
            with open_stack(f"{url}/{name}") as stack:
                np.testing.assert_array_equal(stack[3], PIXELS[3])
        with pytest.raises(InputError, match=r"it holds 2, give the path of one: 0, 1"):
            open_stack(f"{url}/two.zarr")


def test_only_what_a_window_needs_is_fetched(folder: Path) -> None:
    faults = Faults()
    with file_server(folder, faults) as url, open_stack(f"{url}/v3.zarr") as stack:
        faults.requests.clear()
        np.testing.assert_array_equal(stack.window(2, (3, 9), (40, 60)), PIXELS[2, 3:9, 40:60])
    assert [path for _, path, _ in faults.requests] == ["/v3.zarr/c/2/0/1"]


def test_chunks_of_several_sections_are_fetched_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults()
    with file_server(folder, faults) as url:
        with open_stack(f"{url}/v2.zarr") as stack:
            faults.requests.clear()
            for z in range(5):
                stack[z]
            assert not stack.notes
        assert len(faults.requests) == 3 * 3 * 3
        monkeypatch.setattr(remote, "KEPT", 1000)
        with open_stack(f"{url}/v2.zarr") as stack:
            assert "hold 2 sections each, and may be fetched" in stack.notes[0]


def test_what_it_takes_is_counted(folder: Path) -> None:
    with file_server(folder) as url, open_stack(f"{url}/v2.zarr") as stack:
        kept = stack._store.kept  # type: ignore[attr-defined]
        for section in stack:
            assert section.any()
        assert 0 < kept._held <= kept.room < stack.cache_bytes
        stack.close()
        assert kept._held == 0


@pytest.mark.parametrize("kind", FAILURES)
def test_a_server_that_goes_on_failing(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connect, "STALL", 0.05)
    with (
        file_server(folder, Faults(every=1, kinds=(kind,), stall=0.2, first=8)) as url,
        pytest.raises(InputError, match=r"v3.zarr: the server .*, \d+ times .* run the same"),
    ):
        read_stack(url.replace("//", "//me:SECRET@") + "/v3.zarr?sig=SECRET")
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "each request is tried up to 10 times" in said[0]
    assert "SECRET" not in said[0]


def test_a_server_that_is_not_there_is_not_waited_for_long(tmp_path: Path) -> None:
    with file_server(tmp_path) as url:
        pass
    with pytest.raises(
        InputError, match=r"the server cannot be reached, 4 times within .*; look at the address"
    ):
        read_stack(f"{url}/v3.zarr")


@pytest.mark.parametrize("name", ["certificates", "computeMetadata", "kind: Timeout", "dns error"])
def test_a_folder_that_is_called_as_a_failure(name: str) -> None:
    with pytest.raises(InputError, match="the server cannot be reached, 4 times"):
        open_stack(f"http://127.0.0.1:1/169.254.1.1/{name}/a.zarr?status: 404")


class GenericError(Exception):
    """As obstore calls its own."""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("GET https://h/timed%20out/a in 1s - certificate is no", "shows a certificate"),
        ('E { path: "a \\"certificate\\" status: 404", source: TimedOut }', "has stalled"),
        ("error sending request for url (https://h/certificates/0) kind: Connect", "cannot be rea"),
        ("GET http://169.254.169.254/latest/api/token kind: Connect", "no keys for it were found"),
        ("GET http://h:8/computeMetadata/v1/ kind: Connect", "no keys for it were found"),
        ('GET https://h/a - Server { status: 503, body: Some("certificate") }', "answers 503"),
    ],
)
def test_what_failed_is_told_by_the_library_and_not_by_names(text: str, says: str) -> None:
    assert says in failure_of(GenericError(text)).what


def test_a_signal_ends_the_patience(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paper_unet.system.stop import Stopped, stopping

    monkeypatch.setattr(patience, "FIRST_PAUSE", 600.0)
    monkeypatch.setattr(patience, "LONGEST_PAUSE", 600.0)
    with file_server(folder, Faults(every=1, kinds=("503",))) as url, stopping() as stop:
        stop.note(15)
        with pytest.raises(Stopped):
            open_stack(f"{url}/v3.zarr")


def test_a_missing_chunk_is_refused_when_it_is_met(folder: Path) -> None:
    (folder / "v3.zarr/c/1/0/0").unlink()
    with file_server(folder) as url:
        with pytest.raises(InputError, match=r"chunk c/1/0/0 is missing.*`missing` fill"):
            read_stack(f"{url}/v3.zarr")
        filled = read_stack(f"{url}/v3.zarr", missing="fill")
    expected = PIXELS.copy()
    expected[1, :32, :32] = 0
    np.testing.assert_array_equal(filled, expected)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_missing_chunk_of_a_shard(tmp_path: Path, ranges: bool) -> None:
    array = make(tmp_path / "a.zarr", chunks=(1, 16, 16), shards=(2, 32, 32), fill_value=0)
    zarr.open_array(array)[2, 16:32, 0:16] = 0  # then it is not stored
    with file_server(tmp_path, ranges=ranges) as url:
        with pytest.raises(InputError, match=r"1 chunks of the shard c/1/0/0 are missing"):
            read_stack(f"{url}/a.zarr")
        assert not read_stack(f"{url}/a.zarr", missing="fill")[2, 16:32, 0:16].any()


def test_a_store_without_any_chunk(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=SHAPE, chunks=(1, 32, 32), dtype="uint8")
    with file_server(tmp_path) as url:
        with pytest.raises(InputError, match=r"no chunk is there of the .*, say `missing` fill"):
            open_stack(f"{url}/a.zarr")
        with open_stack(f"{url}/a.zarr", missing="fill") as stack:
            assert any("no chunk is there of" in note for note in stack.notes)
            assert not stack[1].any()


def test_a_store_of_few_chunks(tmp_path: Path) -> None:
    """Of which none is among those that are looked at when it is opened."""
    shape = (40, 16, 16)
    array = zarr.create_array(tmp_path / "a.zarr", shape=shape, chunks=(1, 16, 16), dtype="uint8")
    array[7] = 5
    with file_server(tmp_path) as url:
        with pytest.raises(InputError, match=r"no chunk is there of the 8"):
            open_stack(f"{url}/a.zarr")
        found = read_stack(f"{url}/a.zarr", missing="fill")
        with open_stack(f"{url}/a.zarr", missing="fill") as stack:
            assert any("no chunk is there of the 8" in note for note in stack.notes)
    np.testing.assert_array_equal(found, array[:])


def test_rights_that_end_meanwhile_are_no_missing_chunks(folder: Path) -> None:
    with (
        file_server(folder, missing=403) as url,
        open_stack(f"{url}/v3.zarr", missing="fill") as stack,
    ):
        (folder / "v3.zarr/c/1/0/0").unlink()
        with pytest.raises(InputError, match="403 Forbidden"):
            stack[1]


def test_a_chunk_larger_than_it_can_be(folder: Path) -> None:
    with (folder / "v3.zarr/c/1/0/0").open("r+b") as chunk:
        chunk.truncate(2**20)
    with file_server(folder) as url, pytest.raises(InputError, match=r"c/1/0/0: 1048576 bytes"):
        read_stack(f"{url}/v3.zarr")


def test_a_damaged_chunk(folder: Path) -> None:
    (folder / "v3.zarr/c/1/0/0").write_bytes(b"<html>")
    with file_server(folder) as url, pytest.raises(InputError, match=r"slice 1 cannot be read"):
        read_stack(f"{url}/v3.zarr")


def test_identity_is_of_the_pixels_and_not_of_the_address(folder: Path) -> None:
    with file_server(folder) as one, file_server(folder) as other:
        with open_stack(f"{one}/v3.zarr") as stack:
            first = stack.identity()
        with open_stack(other.replace("//", "//me:pw@") + "/v3.zarr?sig=1") as stack:
            assert stack.identity() == first
            assert "127.0.0.1" not in str(first)
        (folder / "v3.zarr/c/4/2/2").write_bytes((folder / "v3.zarr/c/3/2/2").read_bytes())
        with open_stack(f"{one}/v3.zarr") as stack:
            assert stack.identity() != first


def test_user_and_password(folder: Path) -> None:
    pair = base64.b64encode("me:p@s/s wörd".encode()).decode()
    with file_server(folder, authorization=f"Basic {pair}") as url:
        right = url.replace("//", "//me:p%40s%2Fs%20w%C3%B6rd@")
        np.testing.assert_array_equal(read_stack(f"{right}/v3.zarr"), PIXELS)
        for wrong in (url, url.replace("//", "//me:SECRET@")):
            with pytest.raises(InputError, match="401 Unauthorized") as caught:
                read_stack(f"{wrong}/v3.zarr")
            assert "SECRET" not in str(caught.value)
            assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_a_signed_address(folder: Path) -> None:
    query = "sv=2024&sp=rl&sig=a%2Fb%3D"
    with file_server(folder, query=query) as url:
        np.testing.assert_array_equal(read_stack(f"{url}/shards.zarr?{query}"), PIXELS)
        with pytest.raises(InputError, match="403 Forbidden"):
            read_stack(f"{url}/shards.zarr?{query}c")


@pytest.mark.parametrize("text", [DAMAGE, DAMAGE.replace("?", "#"), DAMAGE.replace("//", "/")])
def test_what_is_secret_is_never_shown(text: str) -> None:
    place = address_of(text)
    assert place is not None
    again = pickle.loads(pickle.dumps(place))  # noqa: S301  (our own)
    assert again == place and again.user == "me:pw"
    shown = [str(place), repr(place), f"{place / 'c'}", repr({"a": absolute(text)})]
    shown += [str(InputError(f"{text}: is bad; see {text}, or '{text}'.")), without_secrets(text)]
    for one in shown:
        assert "pw" not in one and "SECRET" not in one
        assert "https://" in one and "host.org:80/a.zarr" in one


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a.zarr: no address", "a.zarr: no address"),
        ("see https://x.org/a.", "see https://x.org/a."),
        ("see https://x.org/a?b=1; do", "see https://x.org/a?***; do"),
        ("s3://b/c@d: is", "s3://b/c@d: is"),
        ("tcp://u:p@1.2.3.4:8786", "tcp://***@1.2.3.4:8786"),
        ("https:/u:p@x.org/a", "https://***@x.org/a"),
        ("https://u:a@b@x.org/a", "https://***@x.org/a"),
        ("https://u:a/b@x.org/a is bad", "https://*** is bad"),
        ("https://u:a?b@x.org/a: no", "https://***: no"),
        ("n5://https://u:a@x.org/a", "n5://https://***@x.org/a"),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
        ("https://x.org:80/a@b:c", "https://x.org:80/a@b:c"),
        ("C:/data/a?b", "C:/data/a?b"),
        ("line 3:/tmp/a", "line 3:/tmp/a"),
        ("/d/cremi.hdf:/raw: is bad", "/d/cremi.hdf:/raw: is bad"),
        ("my_1.h5:/a@b/c?d, e.h5:/f", "my_1.h5:/a@b/c?d, e.h5:/f"),
    ],
)
def test_texts_without_secrets(text: str, kept: str) -> None:
    assert without_secrets(text) == kept


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https:///a.zarr", "names no server"),
        ("s3:///a.zarr", "names no bucket"),
        ("https://me:Pa55/word@host/a.zarr", "write / ? # and @ as %2F"),
        ("https://me:Pa55?word@host/a.zarr", "write / ? # and @ as %2F"),
        ("s3://AKIA:Pa55@bucket/a.zarr", "keys are not taken from an address"),
        ("gs://k:Pa55@bucket/a.zarr", "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_addresses_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        open_stack(text)
    assert "Pa55" not in str(caught.value)


def test_addresses_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert address_of("a.zarr") is None and address_of(Path("/a/b.zarr")) is None
    assert address_of("HTTPS://h/A%20b/?x") == Address("https", "h", "A%20b", "", "x")
    assert address_of("gcs://b/k//l/") == Address("gs", "b", "k/l")
    assert address_of(Path("s3://b/k")) == Address("s3", "b", "k")
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "k").touch()
    assert address_of("s3:/k") is None


@pytest.mark.parametrize(
    ("source", "target", "same"),
    [
        ("s3://b/a.zarr", "s3://b/a.zarr/", True),
        ("s3://b/a.zarr/0", "s3://b/a.zarr", True),
        ("s3://b", "s3://b/a.zarr", True),
        ("s3://b/a.zarr", "gs://b/a.zarr", False),
        ("s3://b/a.zarr", "s3://b/a.zarr2", False),
        ("https://h/a.zarr?" + 300 * "x", "a.zarr", False),
    ],
)
def test_an_output_on_its_input(source: str, target: str, same: bool) -> None:
    if same:
        with pytest.raises(InputError, match="choose another output"):
            refuse_same_file(source, target)
    else:
        refuse_same_file(source, target)


def test_only_zarr_is_read_over_a_network(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    with file_server(tmp_path) as url, pytest.raises(InputError, match="download"):
        open_stack(f"{url}/a.tif")


def test_a_zip_file_is_not_read_over_a_network(tmp_path: Path) -> None:
    make(tmp_path / "a.zarr")
    shutil.make_archive(str(tmp_path / "a.zarr"), "zip", tmp_path / "a.zarr")
    with file_server(tmp_path) as url:
        for name in ("a.zarr.zip", "a.zarr.zip/0"):
            with pytest.raises(InputError, match=r"no Zarr is there.*download") as caught:
                open_stack(f"{url}/{name}")
            assert len(str(caught.value).splitlines()) == 1


SEVERAL = np.stack([np.stack([PIXELS + k + 10 * t for k in range(3)]) for t in range(2)])


@pytest.mark.parametrize("more", [{}, {"shards": (1, 4, 2, 64, 64)}], ids=["chunks", "shards"])
def test_a_channel_and_a_time_point_are_chosen(tmp_path: Path, more: dict[str, Any]) -> None:
    """A channel may share its chunks, or its shards, with others; only what it needs is there."""
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=SEVERAL.shape, dtype="uint8", chunks=(1, 2, 1, 32, 32),
        dimension_names=list("tczyx"), **more,
    )  # fmt: skip
    array[1] = SEVERAL[1]
    with file_server(tmp_path) as url:
        for channel in range(3):
            found = read_stack(f"{url}/a.zarr", channel=channel, time=1)
            np.testing.assert_array_equal(found, SEVERAL[1, channel])
        with open_stack(f"{url}/a.zarr", channel=1, time=1) as stack:
            far = stack.identity()
        with open_stack(tmp_path / "a.zarr", channel=1, time=1) as stack:
            assert far["taken"] == stack.identity()["taken"]
        with pytest.raises(InputError, match=r"no chunk is there|missing"):
            read_stack(f"{url}/a.zarr", channel=1, time=0)
        for given in ({"time": 1}, {"channel": 3, "time": 0}, {"channel": 0, "time": 2}):
            with pytest.raises(InputError, match=r"`(channel|time)`") as caught:
                open_stack(f"{url}/a.zarr", **given)  # type: ignore[arg-type]
            assert len(str(caught.value).splitlines()) == 1


def test_what_holds_images_where_nothing_can_be_listed(tmp_path: Path) -> None:
    """As bioformats2raw writes them: one is taken, of several one is to be named."""
    root = tmp_path / "root.zarr"
    zarr.create_group(root, zarr_format=2, attributes={"bioformats2raw.layout": 3})
    ome(root / "0", "0.4")
    with file_server(tmp_path) as url:
        np.testing.assert_array_equal(read_stack(f"{url}/root.zarr"), PIXELS)
        ome(root / "1", "0.4")
        with pytest.raises(InputError, match="it holds 2, give the path of one: 0, 1"):
            open_stack(f"{url}/root.zarr")
        np.testing.assert_array_equal(read_stack(f"{url}/root.zarr/1"), PIXELS)
        zarr.create_group(tmp_path / "b.zarr")
        make(tmp_path / "b.zarr" / "raw")
        with pytest.raises(InputError, match=r"cannot be listed.*give the path of an image"):
            open_stack(f"{url}/b.zarr")
