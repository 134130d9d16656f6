"""Run under torchrun by `test_deep_parallel.py`: one of two processes falls silent.

``torchrun ... parallel_silent.py OUT TIMEOUT`` writes what the other one saw into ``OUT/seen.pt``.
"""

import sys
import time
from pathlib import Path

import torch
from parallel_worker import cross_entropy, data, network

from sgdlib.deep import processes, train_parallel


def main(out, timeout):
    with processes(timeout=timeout) as group:
        began = []

        def hook(moment):
            if moment.step == 3:
                began.append(time.monotonic())
                if group.rank == 1:
                    time.sleep(600)

        model = network(dropout=0.3)
        model.eval()
        numbers = torch.get_rng_state()
        try:
            train_parallel(
                model, cross_entropy, data(), batch_size=20, epochs=2, lr=0.1, hook=hook, rng=1
            )
        except Exception as error:
            changed = {
                "gradients": any(p.grad is not None for p in model.parameters()),
                "modes": any(m.training for m in model.modules()),
                "random numbers": not torch.equal(torch.get_rng_state(), numbers),
            }
            seen = {
                "waited": time.monotonic() - began[0],
                "steps": len(error.history.step_losses),
                "changed": changed,
            }
            torch.save(seen, out / "seen.pt")
            raise


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
