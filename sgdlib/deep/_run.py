"""Where a training run stands: everything that a checkpoint has to hold, and nothing else."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sgdlib.deep.checkpoints import CheckpointError, load_checkpoint, previous_path, save_checkpoint
from sgdlib.deep.evaluation import Evaluation
from sgdlib.deep.history import Recorder
from sgdlib.descent import DivergenceError

_PLAIN = (
    "seed",
    "epoch",
    "seconds",
    "best_loss",
    "best_epoch",
    "best_state",
    "stopped",
)


def copy_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of the parameters and buffers, on the CPU."""
    return {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}


@dataclass
class Run:
    """The state of a run: model, optimizer, record, place in the data, best weights so far.

    `identity` holds what must be the same for a checkpoint to belong to this run.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    identity: dict
    seed: int
    show: Callable[[int], object] = lambda examples: None
    recorder: Recorder = field(default_factory=Recorder)
    epoch: int = 0
    seconds: float = 0.0  # spent on this epoch
    best_loss: float = float("inf")
    best_epoch: int | None = None
    best_state: dict | None = None
    stopped: bool = False

    def begin_epoch(self) -> None:
        """Start the clock, and remember the state in case this epoch diverges."""
        self._start_state = copy_state(self.model)
        self._started = time.perf_counter()

    def end_steps(self) -> None:
        """Stop the clock when the device has done the steps of the epoch."""
        self._look_closely()
        self.seconds += time.perf_counter() - self._started

    def end_epoch(self, validation: Evaluation | None, patience: int | None) -> None:
        """Write the epoch's row; note the lowest validation loss, and stop if it is time."""
        self.epoch += 1
        self.recorder.end_epoch(
            epochs=self.epoch,
            lr=float(self.optimizer.param_groups[0]["lr"]),
            validation=validation,
            seconds=self.seconds,
        )
        self.seconds = 0.0
        if validation is None:
            return
        if validation.loss < self.best_loss:
            self.best_loss, self.best_epoch = validation.loss, self.epoch
            self.best_state = copy_state(self.model) if patience else None
        elif patience and self.epoch - (self.best_epoch or 0) >= patience:
            self.stopped = True

    def restore_best(self) -> None:
        """Put the best weights back, where a run with patience kept them."""
        if self.best_state is not None:
            self.model.load_state_dict(self.best_state)

    def look(self) -> None:
        """Read the losses; a step that left the finite numbers ends the run."""
        bad = self.recorder.look()
        self.show(self.recorder.examples)
        if bad is not None:
            self._give_up(bad)

    def _look_closely(self) -> None:
        """Look at the losses and at the parameters that the last step left."""
        self.look()
        if not all(bool(torch.isfinite(p).all()) for p in self.model.parameters()):
            self._give_up(self.recorder.steps)

    def _give_up(self, step: int) -> None:
        self.model.load_state_dict(self._start_state)
        self.optimizer.zero_grad()
        lr = float(self.optimizer.param_groups[0]["lr"])
        raise DivergenceError(
            f"the loss stopped being finite at step {step}, in epoch {self.epoch + 1}: the "
            f"learning rate {lr:g} is probably above the stability limit, try {lr / 10:g}; the "
            f"model is back at the beginning of epoch {self.epoch + 1}",
            step=step,
            theta=self._start_state,
        )

    def save(self, path: Path, device: torch.device) -> None:
        """Save the run; if the disk refuses, say so and go on training."""
        self._look_closely()
        state = {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "record": self.recorder.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            **{name: getattr(self, name) for name in _PLAIN},
        }
        try:
            save_checkpoint(path, state)
        except OSError as error:
            warnings.warn(f"{error.strerror}; training goes on", RuntimeWarning, stacklevel=3)

    def resume(self, path: Path, device: torch.device) -> bool:
        """Go on from the checkpoint at `path`; tell whether there was one."""
        if not path.exists() and not previous_path(path).exists():
            return False
        state = load_checkpoint(path)
        saved = state.get("identity")
        if saved is None:
            raise CheckpointError(f"{path}: a checkpoint, but not of a training run")
        for name, value in self.identity.items():
            if saved.get(name) != value:
                raise CheckpointError(
                    f"{path}: a checkpoint of another run, {name}={saved.get(name)!r} and not "
                    f"{value!r}; name another file or move this one away"
                )
        ours = {k: tuple(v.shape) for k, v in self.model.state_dict().items()}
        if {k: tuple(v.shape) for k, v in state["model"].items()} != ours:
            raise CheckpointError(f"{path}: a checkpoint of another model, of other parameters")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.recorder.load_state_dict(state["record"])
        torch.set_rng_state(state["random"])
        if device.type == "cuda" and state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], device)
        for name in _PLAIN:
            setattr(self, name, state[name])
        return True
