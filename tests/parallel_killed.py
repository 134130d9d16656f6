"""Run under torchrun by `test_deep_parallel.py`: a training in which workers are killed.

``torchrun --max-restarts=R ... parallel_killed.py OUT KILLS``: in each start the next of the
comma-separated KILLS happens, ``RANK:STEP`` after a step of that rank, or ``RANK:save`` in the
middle of writing the checkpoint. The result is ``OUT/result.pt``.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from parallel_worker import cross_entropy, data, network

from sgdlib.deep import checkpoints, processes, train_parallel


def die(*_):
    with (OUT / "killed").open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def main(out, kills):
    with processes(timeout=60) as group:
        done = max(group.gather((OUT / "killed").exists() and (OUT / "killed").stat().st_size))
        rank, place = kills[done].split(":") if done < len(kills) else (-1, "0")
        mine = int(rank) == group.rank
        if mine and place == "save":
            checkpoints.os = type("os", (), dict(vars(os)) | {"replace": die})

        def hook(moment):
            if mine and place.isdigit() and moment.history is None and moment.step >= int(place):
                die()

        model = network(dropout=0.3)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        history = train_parallel(
            model,
            cross_entropy,
            data(),
            batch_size=20,
            epochs=6,
            lr=0.1,
            optimizer=optimizer,
            clip=0.5,
            validation=data(),
            checkpoint=out / "run.pt",
            checkpoint_every=2,
            hook=hook,
            rng=3,
        )
        if group.first:
            found = {"restarts": group.restarts, "weights": model.state_dict()}
            for name in ("step_losses", "validation_losses", "examples"):
                found[name] = torch.tensor(getattr(history, name))
            torch.save(found, out / "result.pt")


if __name__ == "__main__":
    OUT = Path(sys.argv[1])
    main(OUT, [k for k in sys.argv[2].split(",") if k])
