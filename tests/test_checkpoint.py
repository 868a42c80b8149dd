"""A checkpoint is whole or not there, says what is wrong with it, and never costs the last good one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import flip, names, save, write_model
from manyminds import checkpoint, durable, manifest
from manyminds.errors import UserError

STATE = {"step": 3, "rng": [3, [1, 2**63 + 5], None], "best": 0.1 + 0.2, "cursor": {"epoch": 1}, "text": "né"}


def test_round_trip(tmp_path: Path) -> None:
    square = torch.arange(6.0).reshape(2, 3)
    optimizer = {
        "half": torch.tensor([1 / 3, -2.5, float("inf")], dtype=torch.bfloat16),
        "count": torch.tensor(2**53 + 1),
        "turned": square.t(),
        "shared": square,
        "wide": torch.ones(1).expand(4),
        "empty": torch.empty(0, 3),
        "leaf": torch.ones(2, requires_grad=True),
    }
    rng = {"cpu": torch.get_rng_state()}
    path = checkpoint.save(
        tmp_path / "a" / "b", 120, write_model, STATE, {"optimizer": optimizer, "rng": rng, "none": {}}
    )
    assert path == tmp_path / "a" / "b" / "step-000120"
    loaded = checkpoint.load(path)
    assert (loaded.step, loaded.path, loaded.model) == (120, path, path / "model")
    assert loaded.state == STATE
    assert set(loaded.tensors) == {"optimizer", "rng", "none"}
    assert loaded.tensors["none"] == {}
    assert torch.equal(loaded.tensors["rng"]["cpu"], torch.get_rng_state())
    for name, tensor in optimizer.items():
        assert loaded.tensors["optimizer"][name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors["optimizer"][name], tensor)
    assert torch.equal(load_file(loaded.model / "model.safetensors")["w"], torch.arange(6.0))
    assert (loaded.model / "nested" / "vocabulary.txt").read_text() == "a b c"
    assert json.loads((path.parent / "latest.json").read_text()) == {"step": 120, "folder": "step-000120"}
    assert names(path.parent) == ["latest.json", "step-000120"]


def test_the_manifest_names_every_file_and_the_versions(tmp_path: Path) -> None:
    path = save(tmp_path, 7)
    contents = json.loads((path / "manifest.json").read_text())
    files = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    assert set(contents["files"]) == files - {"manifest.json"}
    digest = hashlib.sha256(b"a b c").hexdigest()
    assert contents["files"]["model/nested/vocabulary.txt"] == {"size": 5, "sha256": digest}
    assert contents["step"] == 7
    assert contents["versions"]["python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
    assert contents["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert set(contents["versions"]) == {"python", "torch", "transformers", "manyminds"}


def test_whoever_may_read_one_file_may_read_all(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    path = save(tmp_path, 7)
    modes = {file.stat().st_mode for file in path.rglob("*") if file.is_file()}
    assert modes == {(tmp_path / "other").stat().st_mode}


def test_no_file_is_a_pickle(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, write_model, STATE, {"optimizer": {"a": torch.ones(3)}})
    for file in path.rglob("*"):
        assert file.is_dir() or file.suffix in {".json", ".safetensors", ".txt"}
        assert file.is_dir() or not file.read_bytes().startswith((b"PK", b"\x80"))


def test_a_hugging_face_model_comes_back(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    model = AutoModelForCausalLM.from_config(config)
    path = checkpoint.save(tmp_path, 1, lambda folder: model.save_pretrained(folder), {}, {})
    again = AutoModelForCausalLM.from_pretrained(checkpoint.load(path).model)
    assert [
        name for name, tensor in again.state_dict().items() if not torch.equal(tensor, model.state_dict()[name])
    ] == []
    assert len(model.state_dict()) > 5


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda p: os.truncate(p / "model/model.safetensors", 30), "has 30 bytes where the manifest says"),
    "empty": (lambda p: os.truncate(p / "optimizer.safetensors", 0), "optimizer.safetensors has 0 bytes"),
    "flipped": (lambda p: flip(p / "model/model.safetensors"), "SHA-256 differs"),
    "flipped state": (lambda p: flip(p / "state.json", 5), "state.json has other contents"),
    "missing": (lambda p: (p / "optimizer.safetensors").unlink(), "optimizer.safetensors is missing"),
    "missing folder": (lambda p: shutil.rmtree(p / "model"), "model/config.json is missing"),
    "no manifest": (lambda p: (p / "manifest.json").unlink(), "manifest.json is missing"),
    "half a manifest": (lambda p: os.truncate(p / "manifest.json", 99), "manifest.json cannot be trusted"),
    "empty manifest": (lambda p: os.truncate(p / "manifest.json", 0), "manifest.json cannot be trusted"),
    "other manifest": (lambda p: (p / "manifest.json").write_text("[1]"), "manifest.json cannot be trusted"),
    "all gone": (empty, "manifest.json is missing"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_told_skipped_and_not_loaded(tmp_path: Path, how: str) -> None:
    damage, sentence = DAMAGE[how]
    good, bad = save(tmp_path, 10), save(tmp_path, 20)
    assert checkpoint.validate(bad) is None
    assert checkpoint.latest(tmp_path) == (bad, [])
    damage(bad)
    fault = checkpoint.validate(bad)
    assert fault is not None
    assert sentence in fault
    assert checkpoint.latest(tmp_path) == (good, [f"step-000020 was skipped: {fault}"])
    with pytest.raises(UserError, match=r"cannot load the checkpoint .*step-000020") as told:
        checkpoint.load(bad)
    assert sentence in str(told.value)
    damage(good)
    nothing, why = checkpoint.latest(tmp_path)
    assert nothing is None
    assert len(why) == 2


def test_every_flipped_bit_of_the_manifest_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, 10)
    whole = (path / "manifest.json").read_bytes()
    assert manifest.fault(path, hashes=False) is None
    for at in range(len(whole)):
        flip(path / "manifest.json", at)
        fault = manifest.fault(path, hashes=False)
        assert fault is not None, f"byte {at}: {whole[at - 9 : at + 9]!r}"
        assert fault.startswith("manifest.json cannot be trusted")
        (path / "manifest.json").write_bytes(whole)


def test_a_renamed_checkpoint_does_not_pass_for_another_step(tmp_path: Path) -> None:
    path = save(tmp_path, 10)
    path.rename(tmp_path / "step-000030")
    assert checkpoint.validate(tmp_path / "step-000030") == (
        "the folder is named step-000030 but its manifest says step 10"
    )
    (tmp_path / "step-000030").rename(tmp_path / "best")
    assert checkpoint.load(tmp_path / "best").step == 10


def test_a_manifest_cannot_point_outside(tmp_path: Path) -> None:
    path = save(tmp_path, 10)
    for name in ("../latest.json", str(tmp_path / "latest.json")):
        contents = {"format": 1, "step": 10, "files": {name: {"size": 0, "sha256": ""}}}
        (path / "manifest.json").write_text(json.dumps({**contents, "sha256": manifest._digest(contents)}))
        fault = checkpoint.validate(path)
        assert fault is not None
        assert fault.endswith("which is outside the folder")


def test_what_is_not_there(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "none") == (None, [])
    assert checkpoint.latest(tmp_path) == (None, [])
    assert checkpoint.validate(tmp_path / "none") == "it does not exist"
    (tmp_path / "file").write_text("")
    assert checkpoint.validate(tmp_path / "file") == "it is not a folder"
    with pytest.raises(UserError, match="it does not exist; choose another one"):
        checkpoint.load(tmp_path / "none")


def test_the_pointer_is_not_trusted(tmp_path: Path) -> None:
    path = save(tmp_path, 10)
    (tmp_path / "latest.json").write_text('{"step": 99, "folder": "step-000099"}')
    assert checkpoint.latest(tmp_path) == (path, [])


def test_steps_are_compared_as_numbers(tmp_path: Path) -> None:
    save(tmp_path, 999_999)
    newest = save(tmp_path, 1_000_000)
    assert checkpoint.latest(tmp_path) == (newest, [])


def test_pruning_keeps_the_newest_and_the_named(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for step in (10, 20, 30, 40, 50):
        save(tmp_path, step, keep=2, keep_also={20})
    assert names(tmp_path) == ["latest.json", "notes", "step-000020", "step-000040", "step-000050"]
    save(tmp_path, 60, keep=1)
    assert names(tmp_path) == ["latest.json", "notes", "step-000060"]


def test_pruning_spares_the_new_one_when_later_ones_are_there(tmp_path: Path) -> None:
    for step in (30, 40, 10, 20):
        save(tmp_path, step, keep=1)
    assert names(tmp_path) == ["latest.json", "step-000020", "step-000040"]


def test_a_broken_checkpoint_does_not_count_as_kept(tmp_path: Path) -> None:
    save(tmp_path, 10)
    os.truncate(save(tmp_path, 20) / "state.json", 1)
    save(tmp_path, 30, keep=2)
    assert names(tmp_path) == ["latest.json", "step-000010", "step-000030"]


def test_nothing_is_pruned_if_the_new_one_does_not_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (10, 20):
        save(tmp_path, step)
    real = durable.fsync_tree

    def lose_a_bit(folder: Path) -> None:
        real(folder)
        flip(folder / "optimizer.safetensors")

    monkeypatch.setattr(durable, "fsync_tree", lose_a_bit)
    with pytest.raises(UserError, match=r"does not read back, optimizer\.safetensors has other contents"):
        save(tmp_path, 30, keep=1)
    assert names(tmp_path) == ["latest.json", "step-000010", "step-000020"]
    assert checkpoint.latest(tmp_path) == (tmp_path / "step-000020", [])


def test_the_same_step_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, 10, 1.0)
    path = save(tmp_path, 10, 2.0)
    assert checkpoint.load(path).state == {"value": 2.0}
    flip(path / "state.json")
    assert checkpoint.load(save(tmp_path, 10, 3.0)).state == {"value": 3.0}
    assert names(tmp_path) == ["latest.json", "step-000010"]


def test_importing_is_cheap() -> None:
    code = "import sys; import manyminds.checkpoint; print({'torch', 'safetensors', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
