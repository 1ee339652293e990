"""Weights on disk: what was written comes back, and nothing else is taken for weights."""

import errno
import hashlib
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from packaging.version import Version
from safetensors.torch import load_file, save_file
from torch import Tensor

from paper_unet import UNet, load_model
from paper_unet.errors import InputError
from paper_unet.networks.table import make_network
from paper_unet.networks.tensor_file import read_tensors, write_tensors
from paper_unet.networks.weights_file import describe, save_model


def some_model(**options: object) -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = UNet(width=1, **options)  # type: ignore[arg-type]
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.grey_ranges["uint16"] = (12.5, 4000.0)
    model.record = {"data": "made up", "steps": 7, "scores": {"v_rand": 0.5}, "list": [1, 2]}
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_model(path, some_model())
    return path


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in tensors.items()}


# --- round trips -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"in_channels": 3, "out_channels": 4, "dropout": 0.1},
        {"up_relu": True, "last_up_width": 2},
    ],
)
def test_a_network_comes_back_bit_for_bit(tmp_path: Path, options: dict[str, object]) -> None:
    model = some_model(**options)
    save_model(tmp_path / "m.safetensors", model)
    again = load_model(tmp_path / "m.safetensors")
    assert bits(again.state_dict()) == bits(model.state_dict())
    assert again.config == model.config
    assert again.grey_ranges == {"uint8": (0.0, 255.0), "uint16": (12.5, 4000.0)}
    assert again.record == model.record
    assert not again.training
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in again.parameters())


def test_half_precision_storage(tmp_path: Path) -> None:
    model = some_model()
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_model(whole, model)
    save_model(half, model, dtype=torch.float16)
    assert {v.dtype for v in load_file(half).values()} == {torch.float16}
    values = sum(p.numel() for p in model.parameters())
    saved_bytes = whole.stat().st_size - half.stat().st_size
    assert saved_bytes == pytest.approx(2 * values, abs=300)  # the header's offsets are shorter
    rounded = {name: value.half().float() for name, value in model.state_dict().items()}
    assert bits(load_model(half).state_dict()) == bits(rounded)


def test_the_file_is_plain_safetensors_with_its_network_beside(saved: Path) -> None:
    """Other software can read it."""
    assert bits(load_file(saved)) == bits(some_model().state_dict())
    _, about = read_tensors(saved)
    assert about["network"] == {
        "in_channels": 1, "out_channels": 2, "width": 1, "dropout": 0.5, "up_relu": False,
        "last_up_width": None,
    }  # fmt: skip
    assert about == json.loads(json.dumps(describe(some_model())))


def test_the_same_network_makes_the_same_bytes(tmp_path: Path) -> None:
    """So that files can be compared and their hashes published."""
    model, digests = some_model(), set()
    for n in range(12):
        save_model(tmp_path / f"{n}", model)
        digests.add(hashlib.sha256((tmp_path / f"{n}").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_layouts_and_views_are_stored_by_value(tmp_path: Path) -> None:
    last = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tensors = {"a": last, "b": last.transpose(0, 3), "c": torch.tensor(3), "d": torch.zeros(0, 2)}
    write_tensors(tmp_path / "t", tensors, {"note": "ä"})
    again, about = read_tensors(tmp_path / "t")
    assert about == {"note": "ä"}
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], value) for name, value in tensors.items())


# --- files that are not taken ------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    with pytest.raises(InputError, match=f"{path}: no such file of weights"):
        load_model(path)
    with pytest.raises(InputError, match=f"{tmp_path}: is a folder, a regular file is needed"):
        load_model(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    path.touch()
    with pytest.raises(InputError, match=r"empty.safetensors: not a complete .*\(0 bytes"):
        load_model(path)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    kept = int(len(content) * share)
    saved.write_bytes(content[:kept])
    with pytest.raises(InputError, match=rf"not a complete safetensors file \({kept} bytes"):
        load_model(saved)
    saved.write_bytes(content[:-1])
    with pytest.raises(InputError, match="not a complete"):
        load_model(saved)
    saved.write_bytes(content + b"\0")
    with pytest.raises(InputError, match="not a complete"):
        load_model(saved)


def test_one_flipped_bit_anywhere(saved: Path) -> None:
    """Every 13th byte of the header and of the weights; each has to be noticed."""
    content = bytearray(saved.read_bytes())
    (header,) = struct.unpack("<Q", content[:8])
    rng = np.random.default_rng(0)
    places = [*range(8 + header)][::13] + [*range(8 + header, len(content))][::53]
    for place in places:
        flipped = content.copy()
        flipped[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(flipped)
        with pytest.raises(InputError, match=r"weights.safetensors: "):
            load_model(saved)
    saved.write_bytes(content)
    load_model(saved)


def test_damage_is_called_damage(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-5] ^= 1
    saved.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged, its SHA-256 .*again"):
        load_model(saved)


class Payload:
    """What a malicious checkpoint does when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".pkl"])
@pytest.mark.parametrize("container", ["pickle", "torch"])
def test_a_pickle_is_not_run(tmp_path: Path, suffix: str, container: str) -> None:
    witness, path = tmp_path / "it-ran", tmp_path / f"exploit{suffix}"
    if container == "pickle":
        path.write_bytes(pickle.dumps(Payload(witness)))
    else:
        torch.save({"weight": Payload(witness)}, path)
    with pytest.raises(InputError, match=f"exploit{suffix}: not a complete safetensors file"):
        load_model(path)
    assert not witness.exists()
    # the payload does work where pickles are loaded
    if container == "pickle":
        pickle.loads(path.read_bytes())  # noqa: S301
        assert witness.exists()


def test_safetensors_of_other_software(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(some_model().state_dict(), path)
    with pytest.raises(InputError, match="holds no 'paper_unet-1' description"):
        load_model(path)
    save_file(some_model().state_dict(), path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="paper-unet train"):
        load_model(path)


def rewritten(path: Path, change: Callable[[dict[str, Tensor], dict[str, object]], None]) -> None:
    """A file with a right SHA-256 over wrong content."""
    tensors, about = read_tensors(path)
    change(tensors, about)
    write_tensors(path, tensors, about)


def _other_shape(tensors: dict[str, Tensor], _: dict[str, object]) -> None:
    tensors["head.weight"] = torch.zeros(2, 5, 1, 1)


def _missing_tensor(tensors: dict[str, Tensor], _: dict[str, object]) -> None:
    del tensors["down0.0.bias"]


def _additional_tensor(tensors: dict[str, Tensor], _: dict[str, object]) -> None:
    tensors["zzz"] = torch.zeros(1)


def _other_width(_: dict[str, Tensor], about: dict[str, object]) -> None:
    about["network"]["width"] = 2  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_shape, r"1 tensors .*head.weight: found \(2, 5, 1, 1\), needed \(2, 1, 1, 1\)"),
        (_missing_tensor, r"1 tensors .*down0.0.bias: found None, needed \(1,\)"),
        (_additional_tensor, r"1 tensors .*zzz: found \(1,\), needed None"),
        (_other_width, r"tensors do not fit the network of width 2"),
    ],
)
def test_tensors_of_another_network(
    saved: Path, change: Callable[[dict[str, Tensor], dict[str, object]], None], message: str
) -> None:
    rewritten(saved, change)
    with pytest.raises(InputError, match=message):
        load_model(saved)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network", {"width": 0}),
        ("network", {"width": 1, "attention": True}),
        ("network", None),
        ("network", "UNet"),
        ("grey_ranges", {"uint8": [0]}),
        ("grey_ranges", None),
        ("record", None),
    ],
)
def test_a_description_that_makes_no_network(saved: Path, key: str, value: object) -> None:
    rewritten(saved, lambda _tensors, about: about.update({key: value}))
    with pytest.raises(InputError, match="declares no network that this version knows"):
        load_model(saved)
    rewritten(saved, lambda _tensors, about: about.pop(key))
    with pytest.raises(InputError, match="declares no network that this version knows"):
        load_model(saved)


@pytest.mark.parametrize("about", [None, [1, 2], "text", 3])
def test_no_description_at_all(tmp_path: Path, about: object) -> None:
    write_tensors(tmp_path / "w", some_model().state_dict(), about)
    with pytest.raises(InputError, match="has no description of its network"):
        load_model(tmp_path / "w")


def test_the_checkpoint_of_an_unfinished_training(saved: Path) -> None:
    rewritten(saved, lambda _tensors, about: about.update(step=20, config={}))
    with pytest.raises(InputError, match=r"unfinished training.*weights.safetensors"):
        load_model(saved)


# --- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file(
    saved: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = saved.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os if call == "fsync" else Path, call, fail)
        with pytest.raises(
            InputError, match=rf"{saved.name}: the disk is full: \d+ bytes needed, \d+"
        ):
            save_model(saved, UNet(width=2))
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]
    save_model(saved, UNet(width=2))
    assert load_model(saved).config.width == 2


def test_the_file_has_its_name_only_when_it_is_complete_and_on_disk(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment of the move the new file is whole, flushed, and the old one still there."""
    before, moves, synced = saved.read_bytes(), [], []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        assert self.stat().st_ino in synced
        assert self.parent == Path(target).parent
        moves.append((load_model(self).config.width, Path(target).read_bytes() == before))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    save_model(saved, UNet(width=2))
    assert moves == [(2, True)]
    assert saved.parent.stat().st_ino in synced  # the folder, after the move


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder .* does not exist"):
        save_model(tmp_path / "nowhere" / "w.safetensors", some_model())


# --- what a file may declare -------------------------------------------------------------------


@pytest.mark.parametrize("width", [1000, 4096, 10**9, 10**400, float("nan"), "64", None, True])
def test_a_width_that_the_tensors_have_not_allocates_nothing(saved: Path, width: object) -> None:
    rewritten(saved, lambda _, about: about["network"].update(width=width))  # type: ignore[attr-defined]
    before = torch.random.get_rng_state()
    with pytest.raises(InputError) as refused:
        load_model(saved)
    assert len(str(refused.value)) < 400 + len(str(saved))
    assert torch.equal(before, torch.random.get_rng_state())  # no weights were drawn


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("centre", float("nan")), ("centre", 1e300), ("centre", 10**400), ("centre", "0.5"),
        ("centre", [0.5]), ("variant", 3), ("variant", "no_such"), ("variant", "x" * 10**5),
        ("grey_ranges", {"uint16": [0, float("inf")]}), ("grey_ranges", {"uint16": [5, 5]}),
        ("grey_ranges", {"uint16": [0, 10**400]}), ("grey_ranges", {"uint8": "ab"}),
        ("grey_ranges", {str(k): [0, 1] for k in range(100)}), ("record", [1]),
    ],
    ids=str,
)  # fmt: skip
def test_values_out_of_their_range(saved: Path, key: str, value: object) -> None:
    rewritten(saved, lambda _, about: about.update({key: value}))
    with pytest.raises(InputError, match="declares no network that this version knows") as refused:
        load_model(saved)
    assert len(str(refused.value)) < 500 + len(str(saved))


@pytest.mark.parametrize("levels", [40, 900, 100_000])
def test_a_description_of_many_levels(tmp_path: Path, levels: int) -> None:
    text = '{"record": ' + "[" * levels + "]" * levels + "}"
    metadata = {"paper_unet-1": json.dumps({"about": text, "sha256": "0"})}
    save_file({"a": torch.zeros(1)}, tmp_path / "deep", metadata)
    with pytest.raises(InputError, match=r"no description of its network .*(levels|JSON)"):
        load_model(tmp_path / "deep")


@pytest.mark.parametrize(
    "dtype", [torch.int32, torch.bool, torch.complex64, torch.float8_e4m3fn], ids=str
)
def test_tensors_of_another_type(saved: Path, dtype: torch.dtype) -> None:
    try:
        rewritten(saved, lambda t, _: t.update({"head.bias": t["head.bias"].to(dtype)}))
    except KeyError as error:
        if Version(safetensors.__version__) >= Version("0.7"):  # before, no complex numbers
            raise
        pytest.skip(f"not written: {error}")
    with pytest.raises(InputError, match=r"head.bias is .*needed is float32 or float16"):
        load_model(saved)


def test_double_precision_is_rounded_unless_it_overflows(saved: Path) -> None:
    rewritten(saved, lambda t, _: t.update({"head.bias": t["head.bias"].double()}))
    assert bits(load_model(saved).state_dict()) == bits(some_model().state_dict())
    rewritten(saved, lambda t, _: t["head.bias"].fill_(1e300))
    with pytest.raises(InputError, match=r"2 of 2 values of head.bias are NaN or infinite"):
        load_model(saved)


def test_a_variance_below_zero(tmp_path: Path) -> None:
    model = make_network("popular", 1, 1, 1, 0.5)
    model.state_dict()["down0.1.running_var"].fill_(-1)
    save_model(tmp_path / "w", model)
    with pytest.raises(InputError, match="a variance below zero"):
        load_model(tmp_path / "w")
