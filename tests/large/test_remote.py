"""Predictions over HTTP and into buckets: equal bytes, resumed, and nothing secret anywhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from large_helpers import Crashing, Fails, settings

pytest.importorskip("obstore")
from remote_helpers import Faults, fake_gcs, file_server, proxy

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import create_output, open_stack
from paper_unet.images.remote import connect, patience
from paper_unet.images.remote.store import RemoteStore
from paper_unet.large import PredictConfig, predict_file, predict_part
from paper_unet.large.journal import open_journal
from paper_unet.large.report import Report
from paper_unet.segmentation import SegmentConfig, segment_file
from paper_unet.system.stop import Stopped

SECRETS = ["AKIDPAPER", "Secr3tKey", "T0ken", "pa55word", "S1gnature"]
SHAPE = (2, 1100, 600)
HERE: dict[str, dict[str, bytes]] = {}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Yield the address of an S3 server in this process."""
    pytest.importorskip("moto.server")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "STALL", 1.0)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(patience, "LONGEST_PAUSE", 0.05)
    patience.SAID.clear()
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "GS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRETS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS[1])
    monkeypatch.setenv("AWS_SESSION_TOKEN", SECRETS[2])
    monkeypatch.setenv("PAPER_UNET_STATE", str(tmp_path / "state"))


class Bucket:
    """A bucket of the S3 server, seen by another library."""

    def __init__(self, url: str, name: str) -> None:
        import boto3

        self.name = name
        self.client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="other",
            aws_secret_access_key="other",  # noqa: S106
        )  # fmt: skip
        self.client.create_bucket(Bucket=name)

    def names(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        return {key.removeprefix(prefix): self[key] for key in self.names(prefix)}

    def __getitem__(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def __setitem__(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def __delitem__(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bucket:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of boto3, about times
        return Bucket(s3, f"bucket-{abs(hash(request.node.nodeid))}")


@pytest.fixture
def stack(folder: Path) -> Path:
    """Make the input a Zarr of several chunks a section, as large as several of the output."""
    noise = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    array = zarr.create_array(
        folder / "in.zarr", shape=SHAPE, dtype="uint8", chunks=(1, 256, 256), zarr_format=2
    )
    array[...] = noise
    tifffile.imwrite(folder / "in.tif", noise)
    return folder


def at(folder: Path, out: str, source: str | None = None, **given: Any) -> PredictConfig:
    """A prediction of the stack in a folder to an address."""
    config = settings(folder, "unused", dtype="uint8", **given)
    return replace(config, source=source or str(folder / "in.zarr"), out=out)


def files(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }


def here(folder: Path, **given: Any) -> dict[str, bytes]:
    """What the same prediction leaves on this machine, by documents and chunks."""
    key = str(given)
    if key not in HERE:
        predict_file(at(folder, str(folder / "here.zarr"), **given))
        HERE[key] = files(folder / "here.zarr")
    return HERE[key]


def left_here(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "state").iterdir())


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_over_http_and_into_s3_where_every_tenth_request_fails(
    stack: Path, bucket: Bucket, s3: str, monkeypatch: pytest.MonkeyPatch, version: Any
) -> None:
    expected = here(stack, ome_zarr=version)
    reading, writing = Faults(every=10), Faults(every=10)
    with file_server(stack, reading) as source, proxy(s3, writing) as target:
        monkeypatch.setenv("AWS_ENDPOINT_URL", target)
        place = predict_file(
            at(stack, f"s3://{bucket.name}/a b/out.zarr", f"{source}/in.zarr", ome_zarr=version)
        )
    assert bucket.objects("a b/out.zarr/") == expected
    assert len(bucket.objects()) == len(expected), "nothing else is left in the bucket"
    assert str(place) == f"s3://{bucket.name}/a b/out.zarr"
    assert len(reading.failed) > 5 and len(writing.failed) > 5
    assert left_here(stack) == []


def test_in_shards(stack: Path, bucket: Bucket) -> None:
    expected = here(stack, shard=1024)
    with pytest.raises(Fails):
        predict_file(
            at(stack, f"s3://{bucket.name}/out.zarr", shard=1024), executor=Crashing(pieces=2)
        )
    rest = Crashing()
    predict_file(at(stack, f"s3://{bucket.name}/out.zarr", shard=1024), executor=rest)
    assert bucket.objects("out.zarr/") == expected
    assert len(rest.done) == 2


@pytest.mark.parametrize("shard", [0, 1024])
def test_objects_larger_than_a_document_are_gone_on_with(
    stack: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, shard: int
) -> None:
    monkeypatch.setattr("paper_unet.images.remote.store.LARGEST_DOCUMENT", 10_000)
    expected = here(stack, shard=shard)
    address = f"s3://{bucket.name}/out.zarr"
    with pytest.raises(Fails):
        predict_file(at(stack, address, shard=shard), executor=Crashing(pieces=2))
    assert max(map(len, bucket.objects("out.zarr/").values())) > 10_000
    rest = Crashing()
    predict_file(at(stack, address, shard=shard), executor=rest)
    assert bucket.objects("out.zarr/") == expected
    assert 0 < len(rest.done) < 5


def test_into_google_storage(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = here(stack)
    with fake_gcs(Faults(every=10)) as (url, objects):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        predict_file(at(stack, "gs://bucket/a/out.zarr"))
        assert {key.removeprefix("bucket/a/out.zarr/"): objects[key] for key in objects} == expected
        with open_stack("gs://bucket/a/out.zarr") as made:
            assert made.shape == SHAPE


def test_what_was_written_is_read_back(stack: Path, bucket: Bucket) -> None:
    address = f"s3://{bucket.name}/out.zarr"
    for place in (address, str(stack / "here.zarr")):
        predict_file(at(stack, place))
    for source, out in ((address, "again.zarr"), (str(stack / "here.zarr"), "from.zarr")):
        predict_file(at(stack, str(stack / out), source))
    assert files(stack / "again.zarr") == files(stack / "from.zarr")


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("crash", [{"pieces": 1}, {"pieces": 4}, {"tasks": 0}], ids=str)
def test_it_goes_on(stack: Path, bucket: Bucket, crash: dict[str, int], version: Any) -> None:
    expected = here(stack, ome_zarr=version)
    address = f"s3://{bucket.name}/out.zarr"
    crashes = [{"pieces": 3}, crash] if "tasks" in crash else [crash]
    for one in crashes:  # what is derived in one go needs no tasks
        with pytest.raises(Fails):
            predict_file(at(stack, address, ome_zarr=version), executor=Crashing(**one))
    there = bucket.objects("out.zarr/")
    assert there and not [key for key in there if "z" in key or ".zarray" in key]
    with pytest.raises(InputError, match="no Zarr is there"):
        open_stack(address)
    assert len(left_here(stack)) == 2
    rest = Crashing()
    predict_file(at(stack, address, ome_zarr=version), executor=rest)
    assert ("tasks" in crash) == (rest.done == [])
    assert len(rest.done) < 6
    assert bucket.objects("out.zarr/") == expected
    assert left_here(stack) == []


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("before", ["a level's document", "the image's document", "the mark"])
def test_stopped_while_it_is_finished_it_goes_on(
    stack: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, before: str, version: Any
) -> None:
    expected = here(stack, ome_zarr=version)
    level, image = ("1/zarr.json", "zarr.json") if version == "0.5" else ("1/.zarray", ".zgroup")
    last = {"a level's document": level, "the image's document": image}.get(before)
    write, remove = RemoteStore.write, RemoteStore.remove

    def writing(store: RemoteStore, key: str, data: bytes) -> None:
        if key == last:
            raise Fails
        write(store, key, data)

    def removing(store: RemoteStore, keys: Any) -> None:
        if last is None and list(keys) == ["out.zarr.partial"]:
            raise Fails
        remove(store, keys)

    config = at(stack, f"s3://{bucket.name}/out.zarr", ome_zarr=version)
    with monkeypatch.context() as patch, pytest.raises(Fails):
        patch.setattr(RemoteStore, "write", writing)
        patch.setattr(RemoteStore, "remove", removing)
        predict_file(config)
    there = bucket.objects()
    assert "out.zarr.partial" in there
    assert (f"out.zarr/{image}" in there) == (before == "the mark")
    predict_file(config, executor=Crashing(pieces=0))
    assert {f"out.zarr/{key}": data for key, data in expected.items()} == bucket.objects()
    assert left_here(stack) == []


def test_what_is_damaged_or_gone_is_computed_again(stack: Path, bucket: Bucket) -> None:
    expected = here(stack)
    said: list[str] = []
    address = f"s3://{bucket.name}/out.zarr"
    with pytest.raises(Fails):
        predict_file(at(stack, address), executor=Crashing(pieces=3))
    keys = sorted(bucket.objects("out.zarr/0/"))
    whole = bucket[f"out.zarr/0/{keys[0]}"]
    bucket[f"out.zarr/0/{keys[0]}"] = whole[:-1] + bytes([whole[-1] ^ 1])
    del bucket[f"out.zarr/0/{keys[-1]}"]
    predict_file(at(stack, address), report=Report(said.append))
    assert bucket.objects("out.zarr/") == expected
    assert any("are computed again" in line for line in said)


def test_chunks_that_vanish_are_missed(stack: Path, bucket: Bucket) -> None:
    class Thief(Crashing):
        def tasks(self, *given: Any) -> Iterator[None]:
            yield from super().tasks(*given)
            del bucket["out.zarr/0/c/1/0/0"]

    with pytest.raises(InputError, match="1 chunks of level 0 are missing"):
        predict_file(at(stack, f"s3://{bucket.name}/out.zarr"), executor=Thief())
    assert "out.zarr/zarr.json" not in bucket.objects()


def test_a_server_that_stops_is_gone_on_with(
    stack: Path, bucket: Bucket, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails for ever after some requests; then it is well again."""
    expected = here(stack)
    address = f"s3://{bucket.name}/out.zarr"
    faults = Faults(every=1, first=40)
    with proxy(s3, faults) as target:
        monkeypatch.setenv("AWS_ENDPOINT_URL", target)
        with pytest.raises(InputError, match=r"10 times within .* run the same command"):
            predict_file(at(stack, address), executor=Crashing())
        assert len(left_here(stack)) == 2
        faults.every = 0
        rest = Crashing()
        predict_file(at(stack, address), executor=rest)
    assert len(rest.done) < 6
    assert bucket.objects("out.zarr/") == expected


@pytest.mark.parametrize("ends", ["signal", "server"])
def test_what_cannot_be_read_back_now_is_not_taken_for_damage(
    bucket: Bucket, s3: str, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    faults = Faults()
    if ends == "signal":
        monkeypatch.setattr(patience, "signal_came", lambda: signal.SIGTERM)
    with proxy(s3, faults) as target:
        monkeypatch.setenv("AWS_ENDPOINT_URL", target)
        output = create_output(f"s3://{bucket.name}/out.zarr", (1, 8, 8), "uint8")
        output.prepare(resume=False)
        output.write(0, 0, 0, np.ones((8, 8), np.uint8))
        assert output.looks_written(0, (0, 8), (0, 8))
        faults.every, faults.kinds = 1, ("503",)
        for work in (output.read, output.looks_written):
            with pytest.raises(Stopped if ends == "signal" else patience.UnreachableError):
                work(0, (0, 8), (0, 8))
        faults.every = 0
        del bucket["out.zarr/0/c/0/0/0"]
        assert not output.looks_written(0, (0, 8), (0, 8))


def test_a_source_that_stops_is_gone_on_with(stack: Path, folder: Path) -> None:
    expected = here(stack)
    faults = Faults(every=1, first=150)
    with file_server(stack, faults) as url:
        config = at(stack, str(folder / "out.zarr"), f"{url}/in.zarr")
        with pytest.raises(InputError, match=r"in.zarr: the server .* run the same command"):
            predict_file(config)
        assert (folder / "out.zarr.partial").exists()
        faults.every = 0
        rest = Crashing()
        predict_file(config, executor=rest)
    assert len(rest.done) < 6
    assert files(folder / "out.zarr") == expected


def test_nothing_is_left_of_a_run_that_never_began(stack: Path, bucket: Bucket) -> None:
    with pytest.raises(Fails):
        predict_file(at(stack, f"s3://{bucket.name}/out.zarr"), executor=Crashing(pieces=0))
    assert bucket.objects() == {}
    assert left_here(stack) == []


def test_what_is_there_is_replaced_only_if_told(stack: Path, bucket: Bucket) -> None:
    address = f"s3://{bucket.name}/out.zarr"
    predict_file(at(stack, address, ome_zarr="0.4"))
    bucket["out.zarr/labels/mine"] = b"1"
    bucket["out.zarr2/zarr.json"] = b"1"
    with pytest.raises(InputError, match="exists already; choose another name or add `overwrite`"):
        predict_file(at(stack, address))
    said: list[str] = []
    predict_file(at(stack, address), overwrite=True, report=Report(said.append))
    assert f"{address}: the image that is there is removed before the first chunk" in "".join(said)
    assert bucket.objects("out.zarr/") == here(stack)
    assert bucket["out.zarr2/zarr.json"] == b"1"


def test_what_is_left_of_a_run_is_named_by_the_address(stack: Path, bucket: Bucket) -> None:
    address = f"s3://{bucket.name}/out.zarr"
    with pytest.raises(Fails):
        predict_file(at(stack, address), executor=Crashing(pieces=2))
    partial = next((stack / "state").glob("*.partial"))
    with (
        open_journal(partial.with_suffix("")),
        pytest.raises(InputError, match=f"^{address}: another process is writing it"),
    ):
        predict_file(at(stack, address))
    run = (partial / "run").read_bytes()
    (partial / "run").unlink()
    with pytest.raises(InputError, match=rf"^{address} \(.*partial\): does not say which run"):
        predict_file(at(stack, address))
    (partial / "run").write_bytes(run)
    predict_file(at(stack, address))


def test_damage_in_a_bucket_is_named_by_the_address(bucket: Bucket) -> None:
    address = f"s3://{bucket.name}/out.zarr"
    output = create_output(address, (1, 8, 8), "uint8")
    output.prepare(resume=False)
    bucket["out.zarr/0/c/0/0/0"] = b"no zstd"
    with pytest.raises(InputError, match=rf"^{address} \(.*section 0 of level 0 cannot be decoded"):
        output.read(0, (0, 8), (0, 8))
    with pytest.raises(ValueError, match=f"^{address}: window of"):
        output.write(0, 3, 0, np.ones((8, 8), np.uint8))


@pytest.mark.parametrize(
    ("version", "names"),
    [("0.5", ["0/c/x/0/0/0", "0/c/0/x/0/0", "0/c/00/0/0", "0/c/-0/0/0"]), ("0.4", ["0/x/0/0/0"])],
)
def test_what_is_no_chunk_is_not_taken_for_one(
    bucket: Bucket, version: str, names: list[str]
) -> None:
    output = create_output(f"s3://{bucket.name}/out.zarr", (1, 8, 8), "uint8", ome_zarr=version)
    output.prepare(resume=False)
    for name in names:
        bucket[f"out.zarr/{name}"] = b"mine"
    assert output.size_stored(0, (0, 8), (0, 8)) == 0
    with pytest.raises(InputError, match="1 chunks of level 0 are missing"):
        output.finish()
    stored = output.write(0, 0, 0, np.ones((8, 8), np.uint8))
    assert output.size_stored(0, (0, 8), (0, 8)) == stored.size


def test_whose_a_run_is_is_asked_once_when_it_goes_on(
    bucket: Bucket, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults()
    with proxy(s3, faults) as target:
        monkeypatch.setenv("AWS_ENDPOINT_URL", target)
        output = create_output(f"s3://{bucket.name}/out.zarr", (1, 8, 8), "uint8")
        output.prepare(resume=False)
        faults.requests.clear()
        output.prepare(resume=True)
        asked = [path for method, path, _ in faults.requests if path.endswith(".partial")]
        assert len(asked) == 1


def test_nothing_is_said_to_be_removed_where_nothing_is(stack: Path, bucket: Bucket) -> None:
    said: list[str] = []
    address = f"s3://{bucket.name}/out.zarr"
    predict_file(at(stack, address), overwrite=True, report=Report(said.append))
    assert any(line.startswith(f"{address}: its journal is") for line in said)
    assert not any("removed" in line for line in said)


def written(place: str, seed: int = 0, version: Any = "0.5") -> None:
    """Write an image of noise, by a seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (2, 600, 600), np.uint8)
    output = create_output(place, noise.shape, "uint8", ome_zarr=version)
    output.prepare(resume=False)
    for z, section in enumerate(noise):
        output.write(z, 0, 0, section)
        output.sync(z, (0, 600), (0, 600))
    for task in (task for stage in output.stages() for task in stage):
        output.run(task)
    output.finish()


def laid_down(objects: dict[str, bytes], folder: Path) -> None:
    """Make files of objects, as a bucket that is mounted shows them."""
    for name, data in objects.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize(
    ("source", "out"),
    [
        ("{url}/bucket/p/a.zarr", "gs://bucket/p/a.zarr"),
        ("{url}/bucket/p/a.zarr/1", "gs://bucket/p/a.zarr"),
        ("{url}/bucket/p%2Fa.zarr/?signature=1", "gs://bucket/p/a.zarr"),
        ("s3://bucket/p/a.zarr", "gs://bucket/p/a.zarr"),
        ("gs://bucket/p/a.zarr/0", "s3://bucket/p/a.zarr"),
        ("{folder}/bucket/p/a.zarr", "gs://bucket/p/a.zarr"),
        ("{folder}/bucket/link", "gs://bucket/p/a.zarr"),
        ("{url}/bucket/o.zarr/a", "gs://bucket/o.zarr"),
        ("{url}/bucket/p/a.zarr", "{folder}/bucket/p/a.zarr"),
        ("gs://bucket/o.zarr/a/1", "{folder}/bucket/o.zarr"),
    ],
)
def test_the_input_under_another_address_stays(
    stack: Path, monkeypatch: pytest.MonkeyPatch, source: str, out: str, version: Any
) -> None:
    with fake_gcs() as (url, objects):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        written("gs://bucket/p/a.zarr", version=version)
        for key, data in list(objects.items()):
            objects[key.replace("/p/a.zarr/", "/o.zarr/a/")] = data
        objects["bucket/o.zarr/.zgroup"] = b'{"zarr_format": 2}'
        before = dict(objects)
        laid_down(before, stack)
        (stack / "bucket/link").symlink_to(stack / "bucket/p/a.zarr")
        source, out = (text.format(url=url, folder=stack) for text in (source, out))
        with pytest.raises(InputError, match=f"^{out}: holds the pixels of the input .* another"):
            predict_file(at(stack, out, source, percentiles=(1, 99)), overwrite=True)
        assert objects == before
        kept = {f"bucket/{name}": data for name, data in files(stack / "bucket").items()}
        assert {name: kept[name] for name in before} == before
        assert not (stack / "state").exists() or left_here(stack) == []


def test_the_input_under_another_address_stays_in_parts_and_when_segmented(
    stack: Path, folder: Path
) -> None:
    written(str(folder / "a.zarr"))
    before = files(folder / "a.zarr")
    with file_server(folder) as url:
        config = at(stack, str(folder / "a.zarr"), f"{url}/a.zarr")
        for work in (
            lambda: predict_part(config, "1/2", overwrite=True),
            lambda: segment_file(SegmentConfig(config.source, config.out), overwrite=True),
        ):
            with pytest.raises(InputError, match="holds the pixels of the input"):
                work()
    assert files(folder / "a.zarr") == before
    assert not list(folder.glob("a.zarr.*"))


def test_another_image_of_the_same_form_is_replaced(
    stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_gcs() as (url, objects):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        written("gs://bucket/p/a.zarr", 1)
        written("gs://bucket/p/b.zarr", 2)
        first = {key: data for key, data in objects.items() if "/a.zarr/" in key}
        same = "bucket/p/{}.zarr/0/zarr.json"
        assert objects[same.format("a")] == objects[same.format("b")]
        predict_file(at(stack, "gs://bucket/p/b.zarr", f"{url}/bucket/p/a.zarr"), overwrite=True)
        assert {key: objects[key] for key in first} == first
        with open_stack("gs://bucket/p/b.zarr") as made:
            assert made.shape == (2, 600, 600)


def test_what_is_not_ours_stays(stack: Path, bucket: Bucket) -> None:
    bucket["a.zarr/mine"] = b"1"
    bucket["b.zarr.partial"] = b"mine"
    for name in ("a.zarr", "b.zarr"):
        with pytest.raises(InputError, match="stays as it is; remove it"):
            predict_file(at(stack, f"s3://{bucket.name}/{name}"), overwrite=True)
    assert bucket.objects() == {"a.zarr/mine": b"1", "b.zarr.partial": b"mine"}


def test_a_run_of_somebody_else(
    stack: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"s3://{bucket.name}/out.zarr"
    with pytest.raises(Fails):
        predict_file(at(stack, address), executor=Crashing(pieces=1))
    monkeypatch.setenv("PAPER_UNET_STATE", str(stack / "other"))
    with pytest.raises(InputError, match="another run writes it, or left it unfinished"):
        predict_file(at(stack, address))
    predict_file(at(stack, address), overwrite=True)
    expected = bucket.objects("out.zarr/")
    monkeypatch.setenv("PAPER_UNET_STATE", str(stack / "state"))
    with pytest.raises(InputError, match=r"exists already"):  # of the one that began it
        predict_file(at(stack, address))
    assert bucket.objects("out.zarr/") == expected == here(stack)


def test_an_endpoint_with_a_slash_is_the_same(
    stack: Path, bucket: Bucket, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"s3://{bucket.name}/out.zarr"
    with pytest.raises(Fails):
        predict_file(at(stack, address), executor=Crashing(pieces=2))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3 + "/")
    rest = Crashing()
    predict_file(at(stack, address), executor=rest)
    assert len(rest.done) == 4
    assert bucket.objects("out.zarr/") == here(stack)


@pytest.mark.parametrize("lost", ["endpoint", "journal", "journal and partial"])
def test_an_unfinished_run_of_another_journal_stays(
    stack: Path, bucket: Bucket, s3: str, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    address = f"s3://{bucket.name}/out.zarr"
    with pytest.raises(Fails):
        predict_file(at(stack, address), executor=Crashing(pieces=2))
    before = bucket.objects()
    assert any("/c/" in key for key in before)
    if lost == "endpoint":
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.replace("127.0.0.1", "localhost"))
    else:
        journal, partial = (stack / "state" / name for name in left_here(stack))
        journal.unlink()
        if "partial" in lost:
            shutil.rmtree(partial)
    refusal = "stays as it is" if lost == "journal" else "another run writes it, or left it unfin"
    refusal = f"^{address}: .*{refusal}"
    with pytest.raises(InputError, match=refusal):
        predict_file(at(stack, address))
    assert bucket.objects() == before
    if lost != "journal":
        predict_file(at(stack, address), overwrite=True)
        assert bucket.objects("out.zarr/") == here(stack)


def test_a_run_that_could_not_remove_its_mark_is_followed(
    stack: Path, bucket: Bucket, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stops before the first piece: the next run needs no `overwrite`."""

    faults = Faults()

    class Stops(Crashing):
        def pieces(self, *given: Any) -> Iterator[Any]:
            faults.every = 1
            return super().pieces(*given)

    with proxy(s3, faults) as target:
        monkeypatch.setenv("AWS_ENDPOINT_URL", target)
        address = f"s3://{bucket.name}/out.zarr"
        with pytest.raises(InputError, match="10 times within"):
            predict_file(at(stack, address), executor=Stops())
        assert [name.rpartition(".")[2] for name in left_here(stack)] == ["run"]
        assert bucket.names() == ["out.zarr.partial"]
        faults.every = 0
        predict_file(at(stack, address))
    assert bucket.objects("out.zarr/") == here(stack)
    assert left_here(stack) == []


def test_the_run_that_was_replaced_writes_no_more(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, pixels = f"s3://{bucket.name}/out.zarr", np.ones((600, 600), np.uint8)
    first = create_output(address, (1, 600, 600), "uint8")
    first.prepare(resume=False)
    first.write(0, 0, 0, pixels)
    tasks = [task for stage in first.stages() for task in stage]
    monkeypatch.setenv("PAPER_UNET_STATE", str(tmp_path / "other"))
    second = create_output(address, (1, 600, 600), "uint8", overwrite=True)
    second.prepare(resume=False)
    second.write(0, 0, 0, 2 * pixels)
    before = bucket.objects()
    for writes in (
        lambda: first.write(0, 0, 0, pixels),
        lambda: first.derive(0, 0, 0, pixels),
        lambda: first.run(tasks[0]),
        first.finish,
    ):
        with pytest.raises(InputError, match="its run is over or was started anew"):
            writes()
        assert bucket.objects() == before


def test_other_settings_are_refused(stack: Path, bucket: Bucket) -> None:
    address = f"s3://{bucket.name}/out.zarr"
    with pytest.raises(Fails):
        predict_file(at(stack, address), executor=Crashing(pieces=1))
    with pytest.raises(InputError, match=rf"^{address}: an interrupted run .* range = null"):
        predict_file(at(stack, address, value_range=(0.0, 100.0)))
    predict_file(at(stack, address, value_range=(0.0, 100.0)), overwrite=True)
    assert bucket.objects("out.zarr/") == here(stack, value_range=(0.0, 100.0))


def test_an_input_that_changes_meanwhile(stack: Path) -> None:
    class Changing(Crashing):
        def tasks(self, *given: Any) -> Iterator[None]:
            (stack / "in.zarr/1.0.0").write_bytes((stack / "in.zarr/0.0.0").read_bytes())
            return super().tasks(*given)

    with file_server(stack) as url, pytest.raises(InputError, match="changed while it was being"):
        predict_file(at(stack, str(stack / "out.zarr"), f"{url}/in.zarr"), executor=Changing())


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("https://host/out.zarr", "nothing is written over https"),
        ("s3://{}/out.tif", "what is written to a bucket is OME-Zarr"),
        ("s3://{}", "what is written to a bucket is OME-Zarr"),
        ("s3://{}/.zarr", "what is written to a bucket is OME-Zarr"),
        ("s3://nowhere-at-all/out.zarr", "there is no bucket nowhere-at-all"),
        ("ftp://host/out.zarr", "does not exist"),
    ],
)
def test_outputs_that_are_refused(stack: Path, bucket: Bucket, out: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        predict_file(at(stack, out.format(bucket.name)))
    assert bucket.objects() == {}


def test_nothing_secret_is_written_or_said(
    stack: Path, bucket: Bucket, s3: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Of a run that fails, one that ends, and refusals: all files, objects and lines are read."""
    faults = Faults(every=10, kinds=("503", "close"))
    monkeypatch.chdir(stack)
    with file_server(stack, faults) as url, proxy(s3, Faults(every=10, kinds=("500",))) as target:
        monkeypatch.setenv("AWS_ENDPOINT_URL", target)
        source = url.replace("//", "//me:pa55word@") + "/in.zarr?X-Amz-Signature=S1gnature&b=1"
        out = f"s3://{bucket.name}/out.zarr"
        words = ["--weights", "net.safetensors", "--dtype", "uint8", "--timings", "--debug"]
        predict = ["predict", source, "-o", out, *words]
        monkeypatch.setattr("paper_unet.large.run.do_stages", _interrupt)
        monkeypatch.setattr(sys, "argv", ["paper-unet", *predict])
        assert main(predict) == 143
        kept = files(stack / "state")
        assert any(name.endswith(".journal") for name in kept)
        monkeypatch.undo()
        monkeypatch.setenv("AWS_ENDPOINT_URL", target)
        for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"), SECRETS, strict=False):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("PAPER_UNET_STATE", str(stack / "state"))
        monkeypatch.chdir(stack)
        assert main(predict) == 0
        refused = [
            [*predict, "--range", "0", "9"],  # it exists
            ["predict", source, "-o", "here.zarr", "--slices", "9"],
            ["predict", source.replace("in.zarr", "no.zarr"), "-o", "here.zarr"],
            ["predict", source, "--nothing", source],
            ["predict", source, "-o", source],
            ["predict", source, "-o", "here.zarr", "--axes", "Q"],
            ["predict", source, "-o", "here.zarr", "--weights", source],
            ["predict", source, "-o", "here.zarr", "--dask", source],
            ["evaluate", source, source],
            ["segment", source, "-o", source],
            ["train", "--images", source, "--labels", source, "--out", "run", "--steps", "1"],
            ["train", "--images", source, "--labels", source, "--slices", "9"],
            ["predict", source.replace("/in.zarr", ":/"), "-o", "here.zarr"],
        ]
        for arguments in refused:
            try:
                assert main([*arguments, "--debug"]) != 0, arguments
            except SystemExit as end:
                assert end.code == 2
    said = "".join(capfd.readouterr())
    written = [*kept.values(), *bucket.objects().values(), *files(stack).values()]
    names = [*kept, *bucket.objects(), *files(stack)]
    for secret in SECRETS:
        assert secret not in said
        assert not [data for data in written if secret.encode() in data]
        assert secret not in "".join(names)
    assert f"to go on: paper-unet predict 'http://***@{url[7:]}/in.zarr?***'" in said


def test_nothing_secret_is_in_the_record_of_a_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (2, 32, 32), np.uint8)
    for name, pixels in (("in", grey), ("labels", 255 * (grey > 60).astype(np.uint8))):
        zarr.create_array(tmp_path / f"{name}.zarr", data=pixels)
    monkeypatch.chdir(tmp_path)
    with file_server(tmp_path) as url:
        place = url.replace("//", "//me:pa55word@")
        words = [
            "train", "--images", f"{place}/in.zarr?sig=S1gnature", "--out", "run", "--tile", "188",
            "--labels", f"{place}/labels.zarr?sig=S1gnature", "--width", "2", "--device", "cpu",
        ]  # fmt: skip
        assert main([*words, "--steps", "1"]) == 0
        assert main([*words, "--steps", "2", "--resume", "--dry-run"]) == 0
    said = "".join(capsys.readouterr())
    written = b"".join(files(tmp_path / "run").values()).decode("latin-1")
    for secret in SECRETS:
        assert secret not in said and secret not in written
    assert f"http://***@{url[7:]}/in.zarr?***" in written


def _interrupt(*_: object) -> None:
    raise Stopped(signal.SIGTERM)


@pytest.mark.slow
def test_killed_again_and_again(stack: Path, bucket: Bucket, s3: str) -> None:
    expected = here(stack)
    command = [
        sys.executable, "-m", "paper_unet", "predict", "in.zarr", "-o",
        f"s3://{bucket.name}/out.zarr", "--weights", "net.safetensors", "--dtype", "uint8",
        "--threads", "1",
    ]  # fmt: skip
    for chunks in (0, 2, 5):  # that are there when it is killed
        with subprocess.Popen(command, cwd=stack, stderr=subprocess.DEVNULL) as run:
            while run.poll() is None and len(bucket.names("out.zarr/")) < chunks + 1:
                time.sleep(0.02)
            run.kill()
        assert run.returncode == -signal.SIGKILL
        assert "out.zarr/zarr.json" not in bucket.names()
    subprocess.run(command, cwd=stack, check=True, capture_output=True)
    assert bucket.objects("out.zarr/") == expected
    assert left_here(stack) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_on_dask_workers(stack: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that share no folder with the driver: each sees by the bucket whose run it is."""
    pytest.importorskip("distributed")
    from paper_unet.large.cluster import connect as connect_dask

    expected = here(stack)
    with (
        file_server(stack, Faults(every=10, kinds=("503", "close"))) as url,
        connect_dask("local:2", threads=1) as dask,
    ):
        dask.client.run(os.environ.__setitem__, "PAPER_UNET_STATE", "/nowhere")
        config = at(stack, f"s3://{bucket.name}/out.zarr", f"{url}/in.zarr")
        predict_file(config, executor=dask)
    assert bucket.objects("out.zarr/") == expected


def test_the_extra_is_named(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for config in (at(stack, "s3://bucket/a.zarr"), at(stack, "a.zarr", "https://host/a.zarr")):
        with pytest.raises(InputError, match=r'pip install "paper-unet\[remote\]"'):
            predict_file(config)


def test_the_mark_says_nothing_of_this_machine(bucket: Bucket) -> None:
    output = create_output(f"s3://{bucket.name}/out.zarr", (1, 8, 8), "uint8")
    output.prepare(resume=False)
    assert json.loads(bucket["out.zarr.partial"]).keys() == {"paper_unet", "owner", "run"}


@pytest.mark.parametrize(
    "given",
    [
        {"all_classes": True}, {"shard": 1024}, {"all_classes": True, "shard": 512},
        {"percentiles": (1, 99), "shard": 512},
    ],
    ids=str,
)  # fmt: skip
def test_classes_and_shards_go_into_buckets(
    stack: Path, bucket: Bucket, given: dict[str, Any]
) -> None:
    expected = here(stack, **given)
    address = f"s3://{bucket.name}/out.zarr"
    with pytest.raises(Fails):
        predict_file(at(stack, address, **given), executor=Crashing(pieces=2))
    keys = sorted(key for key in bucket.names("out.zarr/0/") if "/c/" in key)
    data = bucket[keys[0]]
    bucket[keys[0]] = data[: len(data) // 2]
    said: list[str] = []
    rest = Crashing()
    predict_file(at(stack, address, **given), executor=rest, report=Report(said.append))
    assert any("computed again" in line for line in said)
    assert bucket.objects("out.zarr/") == expected
    assert left_here(stack) == []


def test_a_label_image_is_not_written_to_a_bucket(stack: Path, bucket: Bucket) -> None:
    with pytest.raises(InputError, match="labels are written to files and folders") as refusal:
        predict_file(at(stack, f"s3://{bucket.name}/out.zarr", argmax=True))
    assert "\n" not in str(refusal.value)
    assert bucket.names() == []


@pytest.mark.parametrize(
    ("given", "says"),
    [({"shard": 100}, "`shard` is 100"), ({"shard": 512, "ome_zarr": "0.4"}, "has no shards")],
)
def test_refusals_name_the_address(
    stack: Path, bucket: Bucket, given: dict[str, Any], says: str
) -> None:
    address = f"s3://{bucket.name}/out.zarr"
    with pytest.raises(InputError, match=f"^{address}: .*{says}"):
        predict_file(at(stack, address, **given))
