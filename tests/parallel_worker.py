"""Run under torchrun by `test_deep_parallel.py`: many short trainings, their results in one file.

``torchrun ... parallel_worker.py OUT`` writes ``OUT/K.pt`` for K processes.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from sgdlib.deep import PlainSGD, processes, synchronize_batch_norm, train_parallel
from sgdlib.schedules import cosine

N, D, CLASSES = 101, 6, 3  # 101 is prime: the last batch is ragged whatever the sizes


def data():
    generator = torch.Generator().manual_seed(5)
    X = torch.randn(N, D, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (N,), generator=generator)
    return X, y


def network(norm=None, dropout=0.0):
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        layers = [nn.Linear(D, 8), *([norm(8)] if norm else []), nn.Tanh(), nn.Linear(8, CLASSES)]
        if dropout:
            layers.insert(-1, nn.Dropout(dropout))
        return nn.Sequential(*layers).double()


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def trained(run, *, norm=None, momentum=0.0, synchronize=False, dropout=0.0, loss=None, **options):
    """Train by `run`, `train` or `train_parallel`, and return all that can be compared."""
    model = network(norm, dropout)
    if synchronize:
        model = synchronize_batch_norm(model)
    optimizer = PlainSGD(model.parameters(), 0.2)
    if momentum:
        optimizer = torch.optim.SGD(model.parameters(), 0.2, momentum=momentum)
    options = {"batch_size": 12, "epochs": 3, "lr": 0.2, "rng": 1, "validation": data()} | options
    history = run(model, loss or cross_entropy, data(), optimizer=optimizer, **options)
    return {
        "weights": {k: v.clone() for k, v in model.state_dict().items()},
        "step_losses": torch.tensor(history.step_losses),
        "step_sizes": torch.tensor(history.step_sizes),
        "validation": torch.tensor(history.validation_losses),
        "accuracy": torch.tensor(history.validation_accuracies),
        "lrs": torch.tensor(history.lrs),
    }


# name: options that must give the same on 1, 2 and 4 processes
EQUAL = {
    "plain": {},
    "smallest batch, tail of one": {"batch_size": 4},
    "accumulated": {"micro_batch_size": 2, "batch_size": 31},
    "clipped": {"clip": 0.05, "momentum": 0.9},
    "schedules": {
        "lr": cosine(0.3, length=3),
        "batch_size": lambda progress: 8 + int(5 * progress),
    },
    "keep": {"last": "keep", "sampling": "shuffle_once"},
    "pad": {"last": "pad"},
    "patience": {"patience": 1, "epochs": 6, "lr": 1.0},
    "synchronised": {"norm": nn.BatchNorm1d, "synchronize": True},
    "synchronised 2": {
        "norm": nn.BatchNorm1d,
        "synchronize": True,
        "batch_size": 5,
        "last": "drop",
    },
}


def own_shard(group, cut):
    """Train on a loader of this process's own: rows [cut[rank], cut[rank + 1]) in 4 batches."""
    X, y = (t[cut[group.rank] : cut[group.rank + 1]] for t in data())
    size = -(-len(X) // 4)
    model = network()
    loader = DataLoader(TensorDataset(X, y), batch_size=size)
    train_parallel(model, cross_entropy, loader, epochs=2, lr=0.2)
    return model.state_dict()


def caught(what):
    """Return the sentence with which `what()` fails, in every process."""
    try:
        what()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def fully_sharded(group):
    """Make three steps with torch's `fully_shard`, and return the whole parameters."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = network()
    mesh = init_device_mesh("cpu", (group.size,))
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    held = sum(p.to_local().numel() for p in model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), 0.2, momentum=0.9)
    X, y = data()
    for _ in range(3):
        part = group.part(96)  # equal parts: fully_shard takes means over processes too
        F.cross_entropy(model(X[part]), y[part]).backward()
        optimizer.step()
        optimizer.zero_grad()
    whole = {name: p.full_tensor().detach() for name, p in model.named_parameters()}
    return whole, group.gather(held)


def torch_as_it_is(group):
    """Return the gradient of DistributedDataParallel as most use it, on unequal shards."""
    model = network()
    engine = nn.parallel.DistributedDataParallel(model)
    X, y = data()
    part = slice(0, 10) if group.first else slice(10, 16) if group.rank == 1 else slice(16, 17)
    F.cross_entropy(engine(X[part]), y[part]).backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    count = part.stop - part.start
    total = group.add_up(torch.tensor(count)).item()
    scaled = F.cross_entropy(engine(X[part]), y[part]) * (group.size * count / total)
    scaled.backward()
    return plain, {name: p.grad.clone() for name, p in model.named_parameters()}


def state_of(model, optimizer):
    """Return weights, buffers and the optimizer's averages, by name."""
    moving = {
        f"{i} {name}": tensor
        for i, p in enumerate(model.parameters())
        for name, tensor in optimizer.state.get(p, {}).items()
    }
    both = (model.state_dict() | moving).items()
    return {name: t.detach().clone() for name, t in both if t is not None}


class Stop(Exception):
    """What a loss of the caller's raises."""


def failed(kind, out, **options):
    """Train until it fails in the second epoch, with all that a caller may have set up before.

    Returns the model, its state, what was found changed, and the error, which keeps the frames of
    the failed run alive. `kind` is "diverges", "loss" (which raises, between the forward and the
    backward pass), or "never": then it ends after one epoch.
    """
    model = network(nn.BatchNorm1d, dropout=0.5)
    model[2].eval()  # set aside on purpose
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    marks = [torch.full_like(p, 7.0) for p in model.parameters()]
    for p, mark in zip(model.parameters(), marks, strict=True):
        p.grad = mark
    torch.manual_seed(11)
    numbers, modes = torch.get_rng_state(), [m.training for m in model.modules()]

    armed = []

    def hook(moment):
        if kind == "loss" and moment.step == 12:
            armed.append(moment.step)

    def fourth_power(outputs, labels):
        if armed:
            raise Stop(f"after step {armed[0]}")
        return (outputs**4).sum(1)

    def rate(progress):
        return 1e100 if kind == "diverges" and progress > 1.5 else 0.05

    error = None
    try:
        train_parallel(
            model,
            fourth_power,
            data(),
            batch_size=12,
            last="drop",
            epochs=1 if kind == "never" else 2,
            lr=rate,
            optimizer=optimizer,
            rng=1,
            hook=hook,
            checkpoint=out,
            checkpoint_every=2,
            **options,
        )
    except Exception as caught_:
        error = caught_
    changed = {
        "gradients": any(
            p.grad is not m or (m != 7).any()
            for p, m in zip(model.parameters(), marks, strict=True)
        ),
        "modes": [m.training for m in model.modules()] != modes,
        "random numbers": not torch.equal(torch.get_rng_state(), numbers),
    }
    return model, state_of(model, optimizer), changed, error


def own_gradient_differs(model, group):
    """Tell whether the model's gradient is another than that of an unused copy: another talks."""
    X, y = (t[5 * group.rank : 5 * group.rank + 5] for t in data())
    fresh = network(nn.BatchNorm1d, dropout=0.5)
    fresh.load_state_dict(model.state_dict())
    gradients = []
    for each in (model, fresh):
        each.eval()
        each.zero_grad()
        cross_entropy(each(X), y).sum().backward()
        gradients.append([p.grad for p in each.parameters()])
    return not all(map(torch.equal, *gradients))


def left_behind(kind, out, group, **options):
    """Return what a failed run has changed, its state, and whether the processes can still talk."""
    model, state, changed, error = failed(kind, out, **options)
    changed["the model talks"] = own_gradient_differs(model, group)
    total = group.add_up(torch.tensor(1.0 + group.rank)).item()
    changed["group"] = total != group.size * (group.size + 1) / 2
    return {"state": state, "changed": changed, "error": f"{type(error).__name__}: {error}"}


def main(out):
    with processes(timeout=60) as group:
        found = {name: trained(train_parallel, **options) for name, options in EQUAL.items()}
        found["unsynchronised"] = trained(train_parallel, norm=nn.BatchNorm1d, last="drop")
        found["every step"] = trained(train_parallel, average_every=1)
        found["local"] = trained(train_parallel, average_every=4, momentum=0.5)
        found["dropout"] = trained(train_parallel, dropout=0.5, checkpoint=out / f"d{group.size}")
        cut = [0, 40, 100, 101, 101] if group.size == 2 else [0, 40, 60, 80, 101]
        found["own shards"] = own_shard(group, [*cut[: group.size], 101])
        shown = []
        trained(train_parallel, epochs=1, hook=lambda m: shown.append(m.losses), validation=None)
        found["hook"] = torch.cat(shown[:-1])
        found["seeds"] = group.gather(float(trained(train_parallel, rng=None)["step_losses"].sum()))
        found["same everywhere"] = group.gather(
            {
                name: float(sum(v.double().sum() for v in found[name]["weights"].values()))
                for name in [*EQUAL, "every step", "local"]
            }
        )
        found["full shards"] = fully_sharded(group)
        found["torch"] = torch_as_it_is(group)

        X, y = data()
        here = group.rank
        wrong = {
            "data differ": lambda: trained_on(X + here, y),
            "fewer than processes": lambda: trained_on(X[:1], y[:1], batch_size=1),
            "batch too small": lambda: trained_on(X, y, batch_size=1),
            "sizes differ": lambda: trained_on(X, y, batch_size=10 + here),
            "unequal shards": lambda: train_parallel(
                network(), cross_entropy, [(X[:5], y[:5])] * (3 + here), epochs=1, lr=0.1
            ),
            "checkpoint unseen": lambda: trained(train_parallel, checkpoint=unseen(out, group)),
            "multiple": lambda: trained(
                train_parallel, average_every=3, checkpoint_every=4, checkpoint=out / "m"
            ),
            "beside a loader": lambda: train_parallel(
                network(), cross_entropy, [(X, y)], batch_size=3, epochs=1, lr=0.1
            ),
        }
        found["errors"] = {name: group.gather(caught(what)) for name, what in wrong.items()}

        def diverges():
            trained(
                train_parallel,
                loss=lambda outputs, labels: (outputs**4).sum(1),
                lr=lambda progress: 0.01 if progress < 1.5 else 1e100,
                checkpoint=out / "div",
            )

        found["diverged"] = group.gather(caught(diverges))
        found["left"] = {
            (kind, every): group.gather(
                left_behind(kind, out / f"{kind} {every} {group.size}", group, average_every=every)
            )
            for kind in ("never", "diverges", "loss")
            for every in (None, 2)
        }
        engine = nn.parallel.DistributedDataParallel(network(nn.BatchNorm1d, dropout=0.5))
        engine(X[:12])  # and no backward pass, as where a loss raises
        found["talks"] = group.gather(own_gradient_differs(engine.module, group))
        if group.first:
            torch.save(found, out / f"{group.size}.pt")
        dist.barrier()
    assert not dist.is_initialized()


def trained_on(X, y, batch_size=10):
    return train_parallel(network(), cross_entropy, (X, y), batch_size=batch_size, epochs=1, lr=0.1)


def unseen(out, group):
    """Return a path that one process finds and the others do not."""
    path = out / f"own{group.size}-{group.rank}"
    if group.first:
        path.touch()
    return path


if __name__ == "__main__":
    main(Path(sys.argv[1]))
