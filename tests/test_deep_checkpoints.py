"""Checkpoints: killed at any moment, on a full disk, damaged: nothing that was saved is lost."""

import errno
import json
import os
import signal
import subprocess
import sys

import checkpoint_worker as worker
import numpy as np
import pytest
import torch
from checkpoint_worker import cross_entropy, problem

from sgdlib.deep import CheckpointError, load_checkpoint, save_checkpoint, train
from sgdlib.deep.checkpoints import previous_path


@pytest.fixture(scope="module")
def run():
    """Return a function that runs the worker in a process of its own and gives its exit status."""
    server = subprocess.Popen(
        [sys.executable, worker.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    def run(path, result=None, **options):
        arguments = {"path": str(path), "result": result and str(result)} | options
        print(json.dumps(arguments), file=server.stdin, flush=True)
        return int(server.stdout.readline())

    yield run
    server.stdin.close()
    server.wait(30)


@pytest.fixture(scope="module")
def finish(run):
    """Return a function that runs to the end, from the checkpoint if there is one."""

    def finish(path):
        result = path.with_name("result.pt")
        assert run(path, result) == 0
        return torch.load(result, weights_only=True)

    return finish


def assert_same(a, b):
    """Compare nested states bit for bit."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a.nan_to_num(-1.0), b.nan_to_num(-1.0))
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@pytest.fixture(scope="module")
def uninterrupted(finish, tmp_path_factory):
    result = finish(tmp_path_factory.mktemp("whole") / "run.pt")
    assert len(result["history"]["step_losses"]) == worker.STEPS
    return result


# -- killed and resumed --


def test_killed_at_random_steps_and_resumed_equals_uninterrupted(
    run, finish, tmp_path, uninterrupted
):
    rng = np.random.default_rng(2)
    for trial in range(20):
        path = tmp_path / f"run{trial}.pt"
        for step in rng.integers(1, worker.STEPS // 2, size=1 + trial % 2):
            assert run(path, kill_at_step=int(step)) == -signal.SIGKILL
        assert_same(finish(path), uninterrupted)


def test_killed_at_the_last_step(run, finish, tmp_path, uninterrupted):
    assert run(tmp_path / "run.pt", kill_at_step=worker.LOSS_CALLS) == -signal.SIGKILL
    assert_same(finish(tmp_path / "run.pt"), uninterrupted)


@pytest.mark.parametrize("write", range(5, 13))
def test_killed_while_saving_and_resumed_equals_uninterrupted(
    run, finish, tmp_path, uninterrupted, write
):
    """A save has four such places: sync, two renames, sync of the folder."""
    path = tmp_path / "run.pt"
    assert run(path, kill_at_sync=write) == -signal.SIGKILL
    assert load_checkpoint(path)["record"]["losses"].numel() >= 6
    assert_same(finish(path), uninterrupted)


def test_killed_from_outside_at_any_moment(run, finish, tmp_path, uninterrupted):
    rng = np.random.default_rng(3)
    for trial in range(6):
        path = tmp_path / f"run{trial}.pt"
        run(path, every=1, kill_after=rng.uniform(0.02, 0.2))
        assert_same(finish(path), uninterrupted)


def test_a_checkpoint_without_the_random_state_would_be_seen(run, finish, tmp_path, uninterrupted):
    """The planted bug: dropout goes on from another place of its random stream."""
    path = tmp_path / "run.pt"
    run(path, kill_at_step=20)
    state = load_checkpoint(path)
    state["random"] = torch.Generator().manual_seed(1).get_state()
    save_checkpoint(path, state)
    with pytest.raises(AssertionError):
        assert_same(finish(path), uninterrupted)


# -- a longer run, another run --


def training(path, **options):
    model, optimizer, data, _ = problem()
    options = {"batch_size": 10, "epochs": 2, "lr": 0.1, "rng": 0} | options
    history = train(
        model, cross_entropy, data, optimizer=optimizer, device="cpu", checkpoint=path, **options
    )
    return model, history


def test_more_epochs_go_on_from_the_end(tmp_path):
    training(tmp_path / "a.pt")
    longer, history = training(tmp_path / "a.pt", epochs=5)
    whole, expected = training(tmp_path / "b.pt", epochs=5)
    assert_same(longer.state_dict(), whole.state_dict())
    assert np.array_equal(history.step_losses, expected.step_losses)
    again, _ = training(tmp_path / "a.pt", epochs=5)  # nothing left to do
    assert_same(again.state_dict(), whole.state_dict())


def test_without_a_seed_the_run_keeps_the_one_it_drew(tmp_path):
    training(tmp_path / "a.pt", rng=None)
    seed = load_checkpoint(tmp_path / "a.pt")["seed"]
    training(tmp_path / "a.pt", rng=None, epochs=3)
    assert load_checkpoint(tmp_path / "a.pt")["seed"] == seed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 7}, "batch_size=10 and not 7"),
        ({"rng": 1}, "seed="),
        ({"last": "keep"}, "last='scale' and not 'keep'"),
        ({"clip": 1.0}, "clip=None and not 1.0"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, options, message):
    training(tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match=message):
        training(tmp_path / "run.pt", **options)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    training(tmp_path / "run.pt")
    _, _, data, _ = problem()
    model = torch.nn.Linear(5, 3)
    before = model.weight.clone()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(CheckpointError, match="another model"):
        train(
            model, cross_entropy, data, optimizer=optimizer, batch_size=10, epochs=3, lr=0.1,
            device="cpu", checkpoint=tmp_path / "run.pt", rng=0,
        )  # fmt: skip
    assert torch.equal(model.weight, before)
    with pytest.raises(CheckpointError, match="optimizer='SGD' and not 'PlainSGD'"):
        train(
            problem()[0], cross_entropy, data, batch_size=10, epochs=3, lr=0.1,
            device="cpu", checkpoint=tmp_path / "run.pt", rng=0,
        )  # fmt: skip


def test_a_checkpoint_that_is_no_training_run(tmp_path):
    save_checkpoint(tmp_path / "run.pt", {"weights": torch.ones(3)})
    with pytest.raises(CheckpointError, match="not of a training run"):
        training(tmp_path / "run.pt")


# -- damaged and foreign files --


@pytest.fixture
def saved(tmp_path):
    """Return the path of a checkpoint with another one before it."""
    path = tmp_path / "run.pt"
    for number in (1, 2):
        save_checkpoint(path, {"number": number, "tensor": torch.arange(100.0)})
    return path


def test_saved_and_loaded_again(saved):
    state = load_checkpoint(saved)
    assert state["number"] == 2
    assert torch.equal(state["tensor"], torch.arange(100.0))
    assert load_checkpoint(previous_path(saved))["number"] == 1
    assert sorted(p.name for p in saved.parent.iterdir()) == ["run.pt", "run.pt.previous"]


@pytest.mark.parametrize("kept", [0, 1, 10, 30, 51, 52, 53, 500, -1])
def test_a_truncated_file_is_refused_and_the_one_before_still_loads(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"(truncated|empty).*run.pt.previous: rename it"):
        load_checkpoint(saved)
    os.replace(previous_path(saved), saved)
    assert load_checkpoint(saved)["number"] == 1


def test_every_flipped_bit_is_noticed(saved):
    data = saved.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(data), size=60):
        damaged = bytearray(data)
        damaged[place] ^= 1 << 3
        saved.write_bytes(bytes(damaged))
        with pytest.raises(CheckpointError, match=r"run.pt: expected a complete checkpoint"):
            load_checkpoint(saved)


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "foreign.pt"
    torch.save({"model": torch.ones(3)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of sgdlib"):
        load_checkpoint(path)
    path.write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(CheckpointError, match="not a checkpoint of sgdlib"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "absent.pt")


class Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path):
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"state": Evil(tmp_path / "evil")})
    with pytest.raises(CheckpointError, match="more than plain data"):
        load_checkpoint(path)
    assert not (tmp_path / "evil").exists()


def test_where_only_the_one_before_is_left(saved):
    saved.unlink()  # stopped between the two renames
    assert load_checkpoint(saved)["number"] == 1


# -- a full disk --


def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_saved(saved, monkeypatch, operation):
    monkeypatch.setattr(os, operation, full)
    with pytest.raises(OSError, match=r"run.pt: .*No space left") as caught:
        save_checkpoint(saved, {"number": 3})
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert load_checkpoint(saved)["number"] == 2
    assert load_checkpoint(previous_path(saved))["number"] == 1
    assert sorted(p.name for p in saved.parent.iterdir()) == ["run.pt", "run.pt.previous"]


def test_training_goes_on_when_the_disk_is_full(tmp_path, monkeypatch):
    training(tmp_path / "run.pt")
    expected, _ = training(tmp_path / "other.pt", epochs=4)
    before = (tmp_path / "run.pt").read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(RuntimeWarning, match=r"run.pt: .*No space left.*training goes on"):
        model, history = training(tmp_path / "run.pt", epochs=4)
    assert_same(model.state_dict(), expected.state_dict())
    assert len(history.epochs) == 4
    assert (tmp_path / "run.pt").read_bytes() == before


def test_a_write_that_the_kernel_refuses(saved):
    """A real failing write: the file may not grow beyond a few bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="the ones saved before are untouched"):
            save_checkpoint(saved, {"number": 3, "tensor": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(saved)["number"] == 2
    assert load_checkpoint(previous_path(saved))["number"] == 1
