"""A training run for the tests of checkpoints, in a process of its own that may be killed.

Run as a program it imports torch once, reads one run per line (its arguments as JSON), forks a
process for it, and answers with the exit status: a run costs milliseconds.
"""

import json
import os
import signal
import sys
import time
import traceback

import torch
import torch.nn.functional as F
from torch import nn

from sgdlib.deep import train
from sgdlib.schedules import cosine, grow_batch

EPOCHS, STEPS = 4, 54
LOSS_CALLS = 18 + 18 + 9 * 2 + 9 * 2  # batches of 8 come in two micro-batches


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def problem():
    """Return a network with dropout and batch normalisation, an optimizer with state, and data."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(92, 5, generator=generator)
    y = torch.randint(3, (92,), generator=generator)
    model = nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )
    for p in model.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return model, optimizer, (X[:72], y[:72]), (X[72:], y[72:])


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def run(path, result=None, *, kill_at_step=None, kill_at_sync=None, every=6, epochs=EPOCHS):
    """Train with checkpoints; die by SIGKILL at a step or a disk write, or write the result."""
    torch.set_num_threads(1)
    model, optimizer, data, validation = problem()
    calls = {"steps": 0, "syncs": 0}

    def loss(outputs, labels):
        if torch.is_grad_enabled():
            calls["steps"] += 1
            if calls["steps"] == kill_at_step:
                kill_self()
        return cross_entropy(outputs, labels)

    real = os.fsync, os.replace

    def deadly(operation):
        def wrapped(*args):
            calls["syncs"] += 1
            if calls["syncs"] == kill_at_sync:
                kill_self()
            return operation(*args)

        return wrapped

    os.fsync, os.replace = map(deadly, real)
    history = train(
        model,
        loss,
        data,
        optimizer=optimizer,
        lr=cosine(0.1, length=EPOCHS),
        batch_size=grow_batch(4, factor=2, every=2.0),
        epochs=epochs,
        validation=validation,
        patience=100,
        micro_batch_size=4,
        clip=1.0,
        device="cpu",
        checkpoint=path,
        checkpoint_every=every,
        rng=11,
    )
    os.fsync, os.replace = real
    if result is not None:
        columns = {k: torch.as_tensor(v) for k, v in vars(history).items() if k != "seconds"}
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state | {"history": columns}, result)


def fork_run(kill_after=None, **arguments):
    """Run in a forked process, killed after so many seconds; return its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            run(**arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    problem()  # torch imports more of itself with the first optimizer: once, before forking
    for line in sys.stdin:
        print(fork_run(**json.loads(line)), flush=True)
