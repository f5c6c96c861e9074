"""Checkpoints: what goes in comes out, files are replaced whole, and every damage has its sentence."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from training_runs import same_weights

from mopoe import checkpoint
from mopoe.checkpoint import FORMAT, Progress, check, load_model, read_progress, restore, save
from mopoe.config import TrialConfig
from mopoe.data.container import MultimodalData
from mopoe.data.registry import DATA_SETS
from mopoe.errors import CheckpointError, ConfigError
from mopoe.model import build_model

CONFIG = TrialConfig(latent_dim=3, channels=(2, 2, 2), subset_weights=(0.25, 0.75), beta=0.1)
PROGRESS = Progress(
    config=CONFIG, data="tiny", data_options={"path": "a/b", "seed": 5}, epoch=4, step=12, examples=88
)


def stepped(data: MultimodalData, seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a model and its Adam after two steps on random gradients."""
    model = build_model(CONFIG, data.modalities)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    torch.manual_seed(seed)
    for _ in range(2):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
    return model, optimizer


def written(path: Path, text: str | None, **tensors: torch.Tensor) -> Path:
    """Write a safetensors file with the text as its progress."""
    save_file(tensors or {"x": torch.zeros(1)}, path, None if text is None else {"progress": text})
    return path


def progress_text(**changes: object) -> str:
    """Return a progress as a checkpoint holds it, with changes."""
    plain = asdict(PROGRESS) | {"config": CONFIG.to_dict(), "format": FORMAT} | changes
    return json.dumps(plain)


def test_a_checkpoint_returns_what_it_was_given(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """Weights, Adam's three states and the progress come back bit by bit, in the parameters' layout."""
    model, optimizer = stepped(tiny_data, 1)
    path = tmp_path / "new" / "folder" / "c.safetensors"
    save(path, PROGRESS, model, optimizer)
    other, other_optimizer = stepped(tiny_data, 2)
    assert restore(path, other, other_optimizer) == PROGRESS
    assert read_progress(path) == PROGRESS
    theirs = dict(other.named_parameters())
    for name, p in model.named_parameters():
        q = theirs[name]
        assert torch.equal(p, q)
        assert q.stride() == p.stride()
        state, restored = optimizer.state[p], other_optimizer.state[q]
        assert set(restored) == set(state) == {"step", "exp_avg", "exp_avg_sq"}
        for key, value in state.items():
            assert torch.equal(value, restored[key])
            assert value.stride() == restored[key].stride()
            assert value.dtype == restored[key].dtype
            assert value.device == restored[key].device


def test_the_next_step_is_the_same_after_restoring(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """One more step with equal gradients gives equal weights."""
    model, optimizer = stepped(tiny_data, 1)
    save(tmp_path / "c", PROGRESS, model, optimizer)
    other, other_optimizer = stepped(tiny_data, 2)
    restore(tmp_path / "c", other, other_optimizer)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.clone()
    optimizer.step()
    other_optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_adams_step_count_returns_to_the_gpu(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """Fused Adam reads the step count on the device of its parameter."""
    model, _ = stepped(tiny_data, 1)
    model.cuda()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    save(tmp_path / "c", PROGRESS, model, optimizer)
    restore(tmp_path / "c", model, optimizer)
    assert {optimizer.state[p]["step"].device.type for p in model.parameters()} == {"cuda"}
    optimizer.step()


def test_weights_can_be_restored_without_an_optimizer(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """For sampling, the model alone is enough."""
    model, optimizer = stepped(tiny_data, 1)
    save(tmp_path / "c", PROGRESS, model, optimizer)
    other = build_model(CONFIG, tiny_data.modalities)
    assert restore(tmp_path / "c", other) == PROGRESS
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


def test_the_file_is_safetensors_and_no_pickle(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """It begins with the length of a JSON header, and the library without pickle reads it all."""
    save(tmp_path / "c", PROGRESS, *stepped(tiny_data, 1))
    raw = (tmp_path / "c").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert json.loads(header["__metadata__"]["progress"])["epoch"] == 4
    with safe_open(tmp_path / "c", framework="pt") as file:
        assert {k.split("/")[0] for k in file.keys()} == {"model", "adam"}  # noqa: SIM118 - not a mapping


def test_a_failing_save_leaves_the_old_checkpoint(
    tiny_data: MultimodalData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk fills up half-way, the old file stays whole and no fragment stays behind."""
    path = tmp_path / "c.safetensors"
    model, optimizer = stepped(tiny_data, 1)
    save(path, PROGRESS, model, optimizer)
    before = path.read_bytes()

    def full_disk(_: object, name: Path, *__: object) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(path, PROGRESS, model, optimizer)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    """The message gives the path."""
    with pytest.raises(CheckpointError) as error:
        read_progress(tmp_path / "c")
    assert str(error.value) == f"{tmp_path / 'c'}: there is no checkpoint"


def test_a_cut_off_checkpoint_is_an_error(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """Half a file is not readable, and neither is an empty or a foreign one."""
    path = tmp_path / "c"
    save(path, PROGRESS, *stepped(tiny_data, 1))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PK\x03\x04 not at all"):
        path.write_bytes(content)
        for read in (read_progress, lambda p: restore(p, nn.Linear(1, 1))):
            with pytest.raises(CheckpointError) as error:
                read(path)
            assert str(error.value).startswith(f"{path}: not a readable checkpoint (")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "{}",
        "[]",
        "no json",
        progress_text(config={"beta": "high"}),
        progress_text(config={"betta": 1.0}),
        progress_text(extra=1),
    ],
)
def test_a_file_of_another_program_is_an_error(tmp_path: Path, text: str | None) -> None:
    """A readable safetensors file without our progress in it is refused with its name."""
    path = written(tmp_path / "c", text)
    with pytest.raises(CheckpointError) as error:
        read_progress(path)
    assert str(error.value).startswith(f"{path}: not a checkpoint of this program (")


def test_a_newer_format_is_an_error(tmp_path: Path) -> None:
    """The message says both formats and what to do."""
    path = written(tmp_path / "c", progress_text(format=FORMAT + 1))
    with pytest.raises(CheckpointError) as error:
        read_progress(path)
    reads = f"but this version reads formats up to {FORMAT}; update mopoe-sweep"
    assert str(error.value) == f"{path} has format {FORMAT + 1}, {reads}"


def test_a_model_of_other_shapes_is_an_error(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """The message names the first weights that do not fit."""
    path = tmp_path / "c"
    save(path, PROGRESS, *stepped(tiny_data, 1))
    wider = build_model(TrialConfig(latent_dim=4, channels=(2, 2, 2)), tiny_data.modalities)
    with pytest.raises(CheckpointError) as error:
        restore(path, wider)
    assert str(error.value).startswith(f"{path}: these are the weights of another model (")
    assert "encoders.grey.hidden.weight" in str(error.value)


def test_a_path_may_be_a_word(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """Saving, reading and restoring take a `str` as well."""
    model, optimizer = stepped(tiny_data, 1)
    path = str(tmp_path / "new" / "c.safetensors")
    save(path, PROGRESS, model, optimizer)
    assert read_progress(path) == restore(path, model, optimizer) == check(path) == PROGRESS


def test_every_single_changed_bit_is_seen(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """By the hash in the file's head, whether checked or restored; one of the head by what it spoils."""
    model, optimizer = stepped(tiny_data, 1)
    path = tmp_path / "c.safetensors"
    save(path, PROGRESS, model, optimizer)
    whole = path.read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")
    rng = random.Random(0)
    for _ in range(10):
        bit = rng.randrange(8 * head, 8 * len(whole))
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        for read in (check, lambda path: restore(path, model, optimizer)):
            with pytest.raises(CheckpointError, match="its content has changed since it was written"):
                read(path)
    for bit in range(0, 8 * head, 251):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            check(path)


@pytest.mark.parametrize(
    "changes",
    [{"epoch": -1}, {"step": 1.5}, {"data": 3}, {"data_options": {"a": [1]}}, {"data_options": [1]}],
)
def test_impossible_progress_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    """Counts, and the data set that a later command would load, are checked when they are read."""
    path = written(tmp_path / "c.safetensors", progress_text(**changes))
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        read_progress(path)


def test_a_trained_model_is_loaded_by_its_file_alone(tmp_path: Path) -> None:
    """Its data set is known by name, or its modalities are given; it is in eval mode."""
    path, specs = tmp_path / "c", DATA_SETS["digits"].modalities
    config = TrialConfig(latent_dim=3, channels=(2, 2, 2), seed=7)
    model = build_model(config, specs)
    optimizer = torch.optim.Adam(model.parameters())
    for name, given in (("digits", ()), ("arrays", specs)):
        save(path, replace(PROGRESS, config=config, data=name, data_options={}), model, optimizer)
        loaded = load_model(path, given)
        assert same_weights(loaded, model)
        assert not loaded.training
    with pytest.raises(ConfigError, match="there is no data set 'arrays'"):
        load_model(path)
