"""Training over processes: equal to one process, and what happens where it cannot be."""

import os
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import parallel_worker as worker
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sgdlib.deep import (
    TensorBatches,
    processes,
    synchronize_batch_norm,
    train,
    train_parallel,
)

HERE = Path(__file__).parent
SIZES = (2, 4)


def environment(**more):
    own = {k: v for k, v in os.environ.items() if not k.startswith(("TORCHELASTIC", "MASTER"))}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        own.pop(name, None)
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return own | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)} | more


def torchrun(*arguments, count, restarts=0):
    """Return the command that starts `count` processes of one machine."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *(f"--nproc-per-node={count}", f"--max-restarts={restarts}", "--monitor-interval=0.05"),
        *map(str, arguments),
    ]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the worker found with each number of processes, in a folder with a space."""
    out = tmp_path_factory.mktemp("of the worker")
    for count in SIZES:
        command = torchrun(HERE / "parallel_worker.py", out, count=count)
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    return {count: torch.load(out / f"{count}.pt", weights_only=False) for count in SIZES}


def largest_difference(left, right):
    return max(float((left[k].double() - right[k].double()).abs().max()) for k in left)


def same_runs(left, right, tol=1e-12):
    """Tell whether two runs agree in weights, losses, sizes, evaluation and rates."""
    if left.keys() != right.keys() or len(left["step_losses"]) != len(right["step_losses"]):
        return False
    others = [k for k in left if k != "weights"]
    near = all(torch.allclose(left[k], right[k], rtol=0, atol=tol, equal_nan=True) for k in others)
    return near and largest_difference(left["weights"], right["weights"]) < tol


def unsynchronized_options(options):
    return {k: v for k, v in options.items() if k != "synchronize"}


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("name", worker.EQUAL)
def test_equals_one_process(found, name, count):
    alone = worker.trained(train, **unsynchronized_options(worker.EQUAL[name]))
    assert same_runs(alone, found[count][name])
    assert (alone["step_sizes"] % count).any() or name == "pad"  # parts were unequal


@pytest.mark.parametrize("count", SIZES)
def test_the_same_check_rejects_what_is_not_equal(found, count):
    alone = worker.trained(train, norm=nn.BatchNorm1d, last="drop")
    assert not same_runs(alone, found[count]["unsynchronised"], tol=1e-4)
    assert not same_runs(worker.trained(train, momentum=0.5), found[count]["local"], tol=1e-6)


@pytest.mark.parametrize("count", SIZES)
def test_means_over_shards_are_not_the_mean(found, count):
    """What DistributedDataParallel does by itself, and with K n_k / sum n before each loss."""
    X, y = worker.data()
    n = 16 if count == 2 else 17
    if count == 4:  # the last process has the 17th example as the third has
        X, y, n = torch.cat([X[:17], X[16:17]]), torch.cat([y[:17], y[16:17]]), 18
    model = worker.network()
    F.cross_entropy(model(X[:n]), y[:n]).backward()
    exact = {name: p.grad for name, p in model.named_parameters()}
    plain, scaled = found[count]["torch"]
    size = max(float(g.abs().max()) for g in exact.values())
    assert largest_difference(exact, scaled) < 1e-14
    assert largest_difference(exact, plain) > 0.02 * size


@pytest.mark.parametrize("count", SIZES)
def test_averaging_after_every_step_is_synchronous(found, count):
    assert same_runs(worker.trained(train), found[count]["every step"])


@pytest.mark.parametrize("count", SIZES)
def test_local_steps_equal_a_slow_reference(found, count):
    """Every process on its part with the mean gradient, averaged by examples every 4 steps."""
    X, y = worker.data()
    loader = TensorBatches(X, y, batch_size=12, rng=1)
    models = [worker.network() for _ in range(count)]
    optimizers = [torch.optim.SGD(m.parameters(), 0.2, momentum=0.5) for m in models]

    def pairs(groups):
        return zip(groups, optimizers, strict=True)

    def average():
        share = np.array(seen) / sum(seen)
        groups = [[*m.parameters()] for m in models]
        groups = [g + [o.state[p]["momentum_buffer"] for p in g] for g, o in pairs(groups)]
        with torch.no_grad():
            for same in zip(*groups, strict=True):
                mean = sum(s * t for s, t in zip(share, same, strict=True))
                for t in same:
                    t.copy_(mean)

    for _ in range(3):
        steps, seen = 0, [0] * count
        for xb, yb, _ in loader:
            for k, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
                part = slice(len(xb) * k // count, len(xb) * (k + 1) // count)
                optimizer.zero_grad()
                weight = (len(xb) / 12) / len(xb[part])  # of the last, short batch less
                (F.cross_entropy(model(xb[part]), yb[part], reduction="sum") * weight).backward()
                optimizer.step()
                seen[k] += len(xb[part])
            steps += 1
            if steps == 4:
                average()
                steps, seen = 0, [0] * count
        if steps:
            average()
    got = found[count]["local"]["weights"]
    assert largest_difference(models[0].state_dict(), got) < 1e-12


@pytest.mark.parametrize("count", SIZES)
def test_all_processes_end_alike(found, count):
    for name in found[count]["same everywhere"][0]:
        assert len({each[name] for each in found[count]["same everywhere"]}) == 1, name
    assert len(set(found[count]["seeds"])) == 1  # a seed that nobody gave is shared


@pytest.mark.parametrize("count", SIZES)
def test_a_hook_sees_the_losses_of_the_whole_batch(found, count):
    shown = []
    worker.trained(train, epochs=1, hook=lambda m: shown.append(m.losses), validation=None)
    torch.testing.assert_close(found[count]["hook"], torch.cat(shown[:-1]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("count", SIZES)
def test_own_shards_of_unequal_length_weigh_by_examples(found, count):
    cut = [0, 40, 101] if count == 2 else [0, 40, 60, 80, 101]
    X, y = worker.data()
    rows = [range(a, b) for a, b in pairwise(cut)]
    sizes = [-(-len(r) // 4) for r in rows]
    steps = [
        [i for r, size in zip(rows, sizes, strict=True) for i in r[size * k : size * k + size]]
        for k in range(4)
    ]
    model = worker.network()
    train(model, worker.cross_entropy, [(X[i], y[i]) for i in steps], epochs=2, lr=0.2)
    assert largest_difference(model.state_dict(), found[count]["own shards"]) < 1e-13


def test_dropout_draws_other_masks_in_each_process(found):
    assert not same_runs(found[2]["dropout"], found[4]["dropout"], tol=1e-6)


@pytest.mark.parametrize("count", SIZES)
def test_fully_sharded_parameters_equal_one_process(found, count):
    whole, held = found[count]["full shards"]
    model = worker.network()
    optimizer = torch.optim.SGD(model.parameters(), 0.2, momentum=0.9)
    X, y = worker.data()
    for _ in range(3):
        F.cross_entropy(model(X[:96]), y[:96]).backward()
        optimizer.step()
        optimizer.zero_grad()
    own = dict(model.named_parameters())
    assert largest_difference({k: v.detach() for k, v in own.items()}, whole) < 1e-13
    assert sum(held) == sum(p.numel() for p in own.values())  # every number is held once


SENTENCES = {
    "data differ": "ValueError: data: expected the same tensors in every process, which takes its "
    "part of each batch, got",
    "fewer than processes": "ValueError: data: expected at least one example for each process, got "
    "1 for {count}",
    "batch too small": "ValueError: batch_size=1: expected an int >= {count}",
    "sizes differ": "ValueError: batch_size=11 in rank 1: expected that of rank 0, 10",
    "unequal shards": "ValueError: data: expected shards with equally many batches, rank 0 has "
    "none after 3 and others have",
    "checkpoint unseen": "expected a folder that all processes see, rank 0 finds the file and rank "
    "1 does not",
    "multiple": "ValueError: checkpoint_every=4: expected a multiple of average_every=3",
    "beside a loader": "ValueError: batch_size: expected none beside a loader",
}


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("name", SENTENCES)
def test_errors_are_one_sentence_in_every_process(found, name, count):
    for sentence in found[count]["errors"][name]:
        assert SENTENCES[name].format(count=count) in sentence
        assert "\n" not in sentence


@pytest.mark.parametrize("count", SIZES)
def test_divergence_is_noticed_by_all_at_the_same_step(found, count):
    sentences = found[count]["diverged"]
    assert len(set(sentences)) == 1
    assert sentences[0].startswith("DivergenceError: the loss stopped being finite at step")


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("every", [None, 2])
@pytest.mark.parametrize("kind", ["diverges", "loss"])
def test_a_failed_run_leaves_things_as_they_were(found, count, kind, every):
    """Modes, gradients, random numbers, the talking; and after divergence the state of epoch 1."""
    sentence = {
        "diverges": "DivergenceError: the loss stopped being finite at step",
        "loss": "Stop: after step 12",
    }
    ended = found[count]["left"]["never", every]
    for each, after_one in zip(found[count]["left"][kind, every], ended, strict=True):
        assert each["error"].startswith(sentence[kind])
        assert [name for name, was in each["changed"].items() if was] == []
        assert not any(after_one["changed"].values())
        undone = same_tensors(after_one["state"], each["state"])
        assert undone == (kind == "diverges")  # steps before a caller's error are kept


def same_tensors(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("count", SIZES)
def test_the_same_check_notices_a_model_that_still_talks(found, count):
    assert found[count]["talks"] == [True] * count


def test_one_process_is_an_ordinary_run():
    with processes() as group:
        assert (group.rank, group.size, group.first) == (0, 1, True)
        assert group.add_up(torch.ones(2)).tolist() == [1.0, 1.0]
        alone = worker.trained(train_parallel, clip=0.1, micro_batch_size=5)
    assert same_runs(worker.trained(train, clip=0.1, micro_batch_size=5), alone, tol=0.0 + 1e-15)
    model = worker.network()
    with pytest.raises(ValueError, match="lr=None: expected a learning rate, or optimizer="):
        train_parallel(model, worker.cross_entropy, worker.data(), batch_size=5, epochs=1)


def test_synchronized_norm_alone_is_torchs():
    x = torch.randn(7, 3, 5, dtype=torch.float64)
    plain = nn.BatchNorm1d(3).double()
    ours = synchronize_batch_norm(nn.BatchNorm1d(3).double())
    assert torch.equal(plain(x), ours(x))
    assert torch.equal(plain.running_var, ours.running_var)
    again = synchronize_batch_norm(ours)
    assert again is ours
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module"):
        synchronize_batch_norm(3)


# Processes that do not come, and processes that go.

MEET = """
from sgdlib.deep import processes
with processes(timeout={timeout}) as group:
    print(group.size)
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def alone_of_two(port, timeout, rank=0):
    """Start one of two processes, without torchrun."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return subprocess.run(
        [sys.executable, "-c", MEET.format(timeout=timeout)],
        env=environment(RANK=str(rank), WORLD_SIZE="2", **place),
        capture_output=True,
        text=True,
    )


def test_a_process_that_never_starts_is_waited_for_so_long():
    port = free_port()
    done = alone_of_two(port, 3)
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        f"TimeoutError: rank 0: expected 2 processes at 127.0.0.1:{port}, not all of them came "
        "within 3 s; start the others, or give timeout= more seconds"
    )


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = alone_of_two(port, 3)
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        f"OSError: MASTER_PORT={port}: expected a free port, another program uses this one; "
        "torchrun --standalone finds one"
    )


def test_bad_timeout_and_missing_variables(monkeypatch):
    with (
        pytest.raises(ValueError, match="timeout=0"),
        processes(timeout=0),
    ):
        pass
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="WORLD_SIZE: expected in the environment"), processes():
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="2 processes were started and have not met"):
        train_parallel(worker.network(), worker.cross_entropy, worker.data(), epochs=1, lr=0.1)


KILLS = "1:3,0:save,1:9,0:11,0:12,1:17,0:20,0:save,1:22,0:31"


def test_a_run_whose_workers_are_killed_ends_as_if_nothing_had_happened(tmp_path):
    """Ten times SIGKILL, of each rank, between steps and while the checkpoint is written."""
    killed, quiet = tmp_path / "with kills", tmp_path / "undisturbed"
    found = {}
    for out, kills in ((killed, KILLS), (quiet, "")):
        out.mkdir()
        worker_file = HERE / "parallel_killed.py"
        command = torchrun(worker_file, out, kills, count=2, restarts=12 if kills else 0)
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        found[out] = torch.load(out / "result.pt", weights_only=True)
        if kills:
            for rank in (0, 1):  # torchrun names who died, and of what
                assert f"failed (exitcode: -9) local_rank: {rank}" in done.stderr
            assert "ConnectionError: rank 0 of 2: another process died" in done.stderr
    assert (killed / "killed").stat().st_size == found[killed].pop("restarts") == 10
    assert found[quiet].pop("restarts") == 0
    for name, weight in found[quiet].pop("weights").items():
        assert torch.equal(weight, found[killed]["weights"][name])
    for name, column in found[quiet].items():
        assert torch.equal(column, found[killed][name])


def test_a_silent_process_is_waited_for_so_long(tmp_path):
    """Rank 1 sleeps in its hook: rank 0 sees an error that says so, and leaves no traces."""
    command = torchrun(HERE / "parallel_silent.py", tmp_path, 8, count=2)
    start = time.monotonic()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode != 0
    assert time.monotonic() - start < 500  # the sleeper would have slept for 600 s
    assert "ConnectionError: rank 0 of 2: another process died or was silent for 8 s (" in (
        done.stderr
    )
    seen = torch.load(tmp_path / "seen.pt", weights_only=True)
    assert seen["waited"] > 7.5  # it did not give up earlier
    assert seen["steps"] == 3  # the record so far is the error's
    assert [name for name, was in seen["changed"].items() if was] == []
