"""Checkpoints: killed at any moment, on a full disk, damaged: nothing that was saved is lost."""

import collections
import copy
import enum
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys

import checkpoint_worker as worker
import numpy as np
import pytest
import torch
from checkpoint_worker import cross_entropy, problem
from same import assert_same

from sgdlib.deep import CheckpointError, checkpoints, load_checkpoint, save_checkpoint, train
from sgdlib.deep.checkpoints import plain, previous_path
from sgdlib.schedules import cosine, grow_batch, step_decay


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
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
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


def test_torchs_own_reader_reads_it_and_a_path_that_is_no_file_is_named(saved):
    assert torch.load(saved, weights_only=True)["number"] == 2
    with pytest.raises(CheckpointError, match="got a file that is a folder"):
        load_checkpoint(saved.parent)


# -- what may be saved --


class Colour(enum.IntEnum):
    RED = 3


Place = collections.namedtuple("Place", "x y")
# what is saved, what comes back
SAVED = {
    "none": (None, None),
    "bool": (np.bool_(True), True),
    "int8": (np.int8(-3), -3),
    "uint64": (np.uint64(2**64 - 1), 2**64 - 1),
    "large": (-(2**100), -(2**100)),
    "float16": (np.float16(0.1), float(np.float16(0.1))),
    "float64": (np.float64(0.1), 0.1),
    "longdouble": (np.longdouble(0.5), 0.5),
    "complex": (np.complex64(1 + 2j), 1 + 2j),
    "string": (np.str_("a\ud800"), "a\ud800"),
    "bytes": (np.bytes_(b"a"), b"a"),
    "enum": (Colour.RED, 3),
    "path": (pathlib.Path("a") / "b", os.path.join("a", "b")),
    "tuple": (Place(1, np.int64(2)), (1, 2)),
    "size": (torch.Size([2, 3]), (2, 3)),
    "set": (frozenset({np.int64(1), 2}), {1, 2}),
    "ordered": (collections.OrderedDict(b=1, a=2), collections.OrderedDict(b=1, a=2)),
    "default": (collections.defaultdict(list, {np.int64(1): [np.float32(2)]}), {1: [2.0]}),
    "dtype": (torch.bfloat16, torch.bfloat16),
    "array": (np.arange(6.0)[::-2], torch.tensor([5.0, 3.0, 1.0], dtype=torch.float64)),
    "big-endian": (np.array([1, 2], ">i2"), torch.tensor([1, 2], dtype=torch.int16)),
    "flags": (np.array([True, False]), torch.tensor([True, False])),
    "scalar": (np.array(3), torch.tensor(3)),
    "empty": (np.empty((0, 3), np.float32), torch.empty(0, 3)),
    "bfloat16": (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
}


@pytest.mark.parametrize("name", SAVED)
def test_what_is_accepted_comes_back_equal(tmp_path, name):
    value, expected = SAVED[name]
    save_checkpoint(tmp_path / "c", {"deep": [{np.str_(name): value}]})
    loaded = load_checkpoint(tmp_path / "c")["deep"][0][name]
    assert_same(loaded, expected)
    assert torch.load(tmp_path / "c", weights_only=True).keys() == {"deep"}
    save_checkpoint(tmp_path / "d", {"x": loaded})  # and can be saved again
    assert_same(load_checkpoint(tmp_path / "d")["x"], expected)


def test_sparse_complex_and_nan_come_back(tmp_path):
    state = {"s": torch.eye(3).to_sparse(), "c": torch.tensor([1 + 2j]).conj(), "n": np.nan}
    save_checkpoint(tmp_path / "c", state)
    loaded = load_checkpoint(tmp_path / "c")
    assert torch.equal(loaded["s"].to_dense(), torch.eye(3))
    assert loaded["c"].tolist() == [1 - 2j]
    assert loaded["n"] != loaded["n"]


def contains_itself():
    state = {}
    state["a"] = [state]
    return state


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (lambda: 1, TypeError, "got function"),
        (int, TypeError, "got type"),
        (range(3), TypeError, "got range"),
        (collections.deque([1]), TypeError, "got deque"),
        (np.datetime64("2020-01-01"), TypeError, "got datetime64"),
        (np.array(["a"]), TypeError, "got an array of <U1"),
        (np.array([None]), TypeError, "got an array of object"),
        (np.ma.masked_equal([1, 2], 2), TypeError, "got MaskedArray"),
        (np.longdouble(1) / 3, TypeError, "got longdouble"),
        (np.random.default_rng(0), TypeError, "got Generator"),
        (torch.ones(2, device="meta"), TypeError, "got Tensor"),
        (contains_itself(), ValueError, "contains itself"),
        (10**1000, ValueError, "an int below"),
        ({torch.ones(1): 2}, TypeError, "got a tensor"),
    ],
)
def test_what_could_not_be_read_is_refused_when_saving(saved, value, error, words):
    if isinstance(value, np.longdouble) and value == float(value):
        pytest.skip("a long double has no more digits than a double here")
    with pytest.raises(error, match=words) as caught:
        save_checkpoint(saved, {"number": 3, "deep": [value]})
    assert words == "contains itself" or "state['deep'][0]" in str(caught.value)
    assert load_checkpoint(saved)["number"] == 2
    assert load_checkpoint(previous_path(saved))["number"] == 1


def test_a_state_is_a_dict(tmp_path):
    with pytest.raises(TypeError, match="state: expected a dict, got list"):
        save_checkpoint(tmp_path / "c", [1])


def test_a_models_state_keeps_the_versions_of_its_layers():
    state = torch.nn.BatchNorm1d(2).state_dict()
    assert plain(state)._metadata == state._metadata


# -- paths that cannot be --


def test_a_path_that_is_no_file_is_refused_and_stays_where_it_is(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    for path in (folder, tmp_path / "run"):
        with pytest.raises(IsADirectoryError, match=r"expected a file, .* is a folder"):
            save_checkpoint(path, {"a": 1})
        (tmp_path / "run.previous").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=r"checkpoint='.*is a folder"):
            training(path)
    assert (folder / "inside").is_dir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no ordinary file"):
        save_checkpoint(tmp_path / "pipe", {"a": 1})
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["folder", "pipe", "run.previous"]


@pytest.mark.parametrize("below", ["absent", "file"])
def test_a_folder_that_is_not_there_is_named(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="a folder that exists and is writable"):
        save_checkpoint(tmp_path / below / "c", {"a": 1})
    with pytest.raises(ValueError, match=r"checkpoint='.*a folder that exists and is writable"):
        training(tmp_path / below / "c")
    with pytest.raises(TypeError, match="path=None: expected a path"):
        save_checkpoint(None, {"a": 1})


class Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    state = {"state": Evil(tmp_path / "evil")}
    with pytest.raises(TypeError, match=r"state\['state'\]: expected tensors.*got Evil"):
        save_checkpoint(path, state)
    monkeypatch.setattr(checkpoints, "plain", lambda state: state)
    save_checkpoint(path, state)
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


# -- what must be the same, and what may change --


def compared(tmp_path, first, second, *, epochs=2):
    """Run `epochs` epochs with the options `first`, and go on with `second` for one more."""
    training(tmp_path / "run.pt", epochs=epochs, **first)
    return training(tmp_path / "run.pt", epochs=epochs + 1, **second)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"lr": 0.001}, {"lr": 0.1}, r"lr=0\.001 and not 0\.1"),
        ({"lr": cosine(0.1, length=5)}, {"lr": cosine(0.1, length=6)}, r"lr\(0\.125\)=0\.\d+ and"),
        ({"lr": 0.1}, {"lr": cosine(0.1, length=5)}, r"lr\(0\.125\)=0\.1 and not 0\.09"),
        ({"lr": 0.2}, {"lr": None}, r"lr=0\.2 and not 0\.1"),
        (
            {"batch_size": 8},
            {"batch_size": grow_batch(8, every=0.5, maximum=9)},
            r"batch_size\(0\.5\)=8 and",
        ),
        ({}, {"batch_size": 20}, "batch_size=10 and not 20"),
        ({}, {"sampling": "shuffle_once"}, "sampling='reshuffle' and not"),
        ({}, {"micro_batch_size": 5}, "micro_batch_size=None and not 5"),
        ({}, {"precision": "bf16"}, "precision='float32' and not 'bf16'"),
    ],
)
def test_what_decides_the_course_of_a_run_must_be_the_same(tmp_path, first, second, words):
    with pytest.raises(CheckpointError, match=words):
        compared(tmp_path, first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"lr": 0.1}, {"lr": step_decay(0.1, factor=0.1, every=2.0)}),  # it differs later
        ({"lr": 0.1}, {"lr": None}),  # the optimizer's own
        ({"batch_size": np.int64(8), "clip": np.float64(2)}, {"batch_size": 8, "clip": 2}),
        ({"batch_size": 8}, {"batch_size": grow_batch(8, every=2.0), "checkpoint_every": 3}),
        ({"rng": np.int32(0)}, {"rng": None, "progress": False}),
    ],
)
def test_what_does_not_may_change(tmp_path, first, second):
    _, history = compared(tmp_path, first, second)
    assert history.epochs.tolist() == [1, 2, 3]


def with_data(tmp_path, data, **options):
    model, optimizer, *_ = problem()
    options = {"batch_size": 10, "epochs": 2, "lr": 0.1, "rng": 0, "device": "cpu"} | options
    path = tmp_path / "run.pt"
    return train(model, cross_entropy, data, optimizer=optimizer, checkpoint=path, **options)


def test_other_data_are_noticed(tmp_path):
    (X, labels), validation = problem()[2:]
    with_data(tmp_path, (X, labels))
    other = X.clone()
    other[3, 2] += 1e-3
    for data in ((other, labels), (X, labels.flip(0)), (X[:70], labels[:70])):
        with pytest.raises(CheckpointError, match=r"data='.* float32, .*checksum \w{8}' and not '"):
            with_data(tmp_path, data)
    same = (X.t().contiguous().t(), labels.clone())  # laid out differently
    assert len(with_data(tmp_path, same, epochs=3, validation=validation).epochs) == 3


def test_validation_data_must_be_the_same_where_something_stops_by_them(tmp_path):
    data, (X, labels) = problem()[2:]
    with_data(tmp_path, data, validation=(X, labels), patience=50)
    with pytest.raises(CheckpointError, match="patience=50 and not 60"):
        with_data(tmp_path, data, validation=(X, labels), patience=60)
    with pytest.raises(CheckpointError, match="validation='"):
        with_data(tmp_path, data, validation=(X, labels.flip(0)), patience=50, epochs=3)


SETTINGS = {
    "momentum": (lambda p: torch.optim.SGD(p, 0.1, momentum=0.8), r"\['momentum'\]=0\.9 and not"),
    "decay": (
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
        r"param_groups\[0\]\['weight_decay'\]=0 and not 0\.1",
    ),
    "groups": (
        lambda p: torch.optim.SGD([{"params": q} for q in p], 0.1, momentum=0.9),
        r"param_groups\[0\]\['params'\]=\['0\.weight', .*'\] and not \['0\.weight'\]",
    ),
    "order": (
        lambda p: torch.optim.SGD(list(p)[::-1], 0.1, momentum=0.9),
        r"\['params'\]=.* and not \['4\.bias'",
    ),
    "class": (lambda p: torch.optim.Adam(p, 0.1), "optimizer='SGD' and not 'Adam'"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_another_optimizer_is_refused_and_nothing_is_touched(tmp_path, name):
    training(tmp_path / "run.pt")
    make, words = SETTINGS[name]
    model, _, data, _ = problem()
    optimizer = make(model.parameters())
    before = [t.clone() for t in model.state_dict().values()]
    state, random = copy.deepcopy(optimizer.state_dict()), torch.get_rng_state()
    with pytest.raises(CheckpointError, match=words):
        train(
            model, cross_entropy, data, optimizer=optimizer, batch_size=10, epochs=3, lr=0.1,
            device="cpu", checkpoint=tmp_path / "run.pt", rng=0,
        )  # fmt: skip
    assert all(map(torch.equal, model.state_dict().values(), before))
    assert_same(optimizer.state_dict(), state)
    assert torch.equal(torch.get_rng_state(), random)


def test_rates_of_groups_are_compared_by_their_ratio(tmp_path):
    def run(second_rate, **options):
        model, _, data, _ = problem()
        weights, others = model[0].parameters(), [*model[1].parameters(), *model[4].parameters()]
        groups = [{"params": weights}, {"params": others, "lr": second_rate}]
        return train(
            model, cross_entropy, data, optimizer=torch.optim.SGD(groups, 0.2), batch_size=10,
            device="cpu", checkpoint=tmp_path / "run.pt", rng=0, lr=0.1, **options,
        )  # fmt: skip

    run(0.4, epochs=1)
    assert run(0.4, epochs=2).lrs.tolist() == [[0.1, 0.2], [0.1, 0.2]]
    with pytest.raises(CheckpointError, match=r"param_groups\[1\]\['lr'\]=2\.0 and not 3\.0"):
        run(0.6, epochs=3)


class Wrapped(torch.nn.Module):
    """Adds to the names what data parallelism adds."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)


class Compiled(torch.nn.Module):
    """Adds to the names what `torch.compile` adds."""

    def __init__(self, module):
        super().__init__()
        self._orig_mod = module

    def forward(self, x):
        return self._orig_mod(x)


@pytest.mark.parametrize("first", [None, Wrapped, Compiled, lambda m: Wrapped(Compiled(m))])
@pytest.mark.parametrize("second", [None, Compiled, lambda m: Compiled(Wrapped(m))])
def test_wrappers_make_no_other_model(tmp_path, first, second):
    def run(wrap, epochs, path):
        model, optimizer, data, _ = problem()
        outer = model if wrap is None else wrap(model)
        options = {"batch_size": 10, "epochs": epochs, "lr": 0.1, "rng": 0, "device": "cpu"}
        train(outer, cross_entropy, data, optimizer=optimizer, checkpoint=path, **options)
        return model.state_dict()

    run(first, 1, tmp_path / "run.pt")
    assert load_checkpoint(tmp_path / "run.pt")["model"].keys() == problem()[0].state_dict().keys()
    resumed = run(second, 2, tmp_path / "run.pt")
    assert_same(resumed, run(None, 2, tmp_path / "whole.pt"))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: problem()[0].double(), r"0\.weight is float32 \(8, 5\) and not float64 \(8, 5\)"),
        (lambda: problem()[0][:4], r"4\.weight is float32 \(3, 8\) and not absent"),
        (lambda: torch.nn.Sequential(*problem()[0], torch.nn.Linear(3, 3)), r"5\.weight is absent"),
    ],
)
def test_a_model_that_differs_is_described(tmp_path, model, words):
    training(tmp_path / "run.pt")
    model, (X, labels) = model(), problem()[2]
    dtype = model[0].weight.dtype
    with pytest.raises(CheckpointError, match=f"another model, in which {words}"):
        train(
            model, cross_entropy, (X.to(dtype), labels), batch_size=10, epochs=3, lr=0.1,
            device="cpu", checkpoint=tmp_path / "run.pt", rng=0,
        )  # fmt: skip


@pytest.mark.parametrize("part", ["model", "optimizer"])
def test_what_cannot_be_saved_is_refused_before_any_work(tmp_path, part):
    model, optimizer, data, _ = problem()
    if part == "model":
        model.register_module("extra", Extra())
        model = torch.nn.Sequential(model[:5], model.extra)
    else:
        optimizer.param_groups[0]["note"] = object()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(TypeError, match=r"optimizer.param_groups|model.state_dict.*got object"):
        train(
            model, cross_entropy, data, optimizer=optimizer, batch_size=10, epochs=3, lr=0.1,
            device="cpu", checkpoint=tmp_path / "run.pt", rng=0,
        )  # fmt: skip
    assert all(map(torch.equal, model.parameters(), before))


class Extra(torch.nn.Identity):
    """Has a state of its own, that is no tensor."""

    def get_extra_state(self):
        return {"made": object()}

    def set_extra_state(self, state):
        pass


def test_a_state_of_ones_own_goes_through_divergence_and_checkpoint(tmp_path):
    class Counting(torch.nn.Identity):
        calls = 0

        def forward(self, x):
            self.calls += torch.is_grad_enabled()
            return x

        def get_extra_state(self):
            return {"calls": np.int64(self.calls)}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    def run(epochs):
        model, optimizer, data, _ = problem()
        model = torch.nn.Sequential(model, Counting())
        options = {"batch_size": 10, "epochs": epochs, "lr": 0.1, "rng": 0, "device": "cpu"}
        path = tmp_path / "run.pt"
        train(model, cross_entropy, data, optimizer=optimizer, checkpoint=path, **options)
        return model[1].calls

    assert [run(1), run(3)] == [8, 24]
