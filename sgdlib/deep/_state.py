"""Where a training run stands: what a checkpoint has to hold, and what a failure has to undo."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sgdlib.deep import _identity
from sgdlib.deep.checkpoints import (
    CheckpointError,
    load_checkpoint,
    plain,
    previous_path,
    save_checkpoint,
)
from sgdlib.deep.evaluation import Evaluation
from sgdlib.deep.history import History, Recorder
from sgdlib.deep.loading import Loader
from sgdlib.deep.optim import Rates
from sgdlib.deep.step import Step
from sgdlib.descent import DivergenceError

_PLAIN = (
    "seed",
    "epoch",
    "seconds",
    "best_loss",
    "best_epoch",
    "best_state",
    "stopped",
    "epoch_random",
)


def copied(state: object) -> object:
    """Return a copy of a nested state, its tensors on the CPU."""
    if isinstance(state, torch.Tensor):
        return state.detach().cpu().clone()
    if isinstance(state, dict):
        new = copy.copy(state)  # keeps what hangs on it: the versions of a model's layers
        for key in new:
            new[key] = copied(new[key])
        return new
    return copy.deepcopy(state)


@dataclass
class State:
    """The state of a run: model, optimizer, record, place in the data, best weights so far.

    `identity` holds what must be the same for a checkpoint to belong to this run, `knobs` the
    schedules that must have been the same up to here.
    """

    step: Step
    loader: Loader
    rates: Rates
    path: Path | None
    knobs: dict[str, float | Callable]
    identity: dict
    seed: int
    show: Callable[[int], object] = lambda examples: None
    recorder: Recorder = field(init=False)
    epoch: int = 0
    seconds: float = 0.0  # spent on this epoch
    best_loss: float = float("inf")
    best_epoch: int | None = None
    best_state: dict | None = None
    stopped: bool = False
    epoch_random: dict = field(default_factory=dict)  # the generators when the epoch began

    def __post_init__(self):
        self.model, self.optimizer = self.step.model, self.step.optimizer
        self.device = self.step.device
        self.recorder = Recorder(self.step.look_every)

    def history(self, *, stopped: bool = False) -> History:
        """Return the record so far."""
        stopped = stopped or self.stopped
        return self.recorder.history(stopped_early=stopped, best_epoch=self.best_epoch)

    def progress(self, steps: int, examples: int) -> float:
        """Return the progress in epochs where so much of this epoch is done."""
        return self.loader.position(self.epoch, steps, examples)

    @contextmanager
    def history_in_errors(self) -> Iterator[None]:
        """Whatever ends the run early carries the record so far as its `history`."""
        try:
            yield
        except BaseException as error:
            if not hasattr(error, "history"):
                with suppress(RuntimeError):  # of a device that does not answer any more
                    self.recorder.look()
                error.history = self.history()
            if isinstance(error, KeyboardInterrupt):
                error.add_note(
                    "The record so far is this error's `history` (sys.last_value.history)."
                )
            raise

    def begin_epoch(self) -> None:
        """Start the clock, and remember the state in case this epoch diverges.

        A loader may draw its order from torch's random numbers when its iteration begins; a run
        that is taken up within an epoch begins it with the numbers that there were.
        """
        self._start, self._saved = self.state_dict(), False
        for part in ("model", "optimizer"):
            self._start[part] = copied(self._start[part])
        self._buffers = copied(dict(self.model.named_buffers()))  # also those that are not saved
        if not self.recorder.epoch_steps:
            self.epoch_random = self._start["random"]
        self._started = time.perf_counter()

    def batches(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Return an iterator over the batches that are left of this epoch."""
        if not (skip := self.recorder.epoch_steps):
            return self.loader.epoch(self.epoch)
        now = _random_state(self.device)
        _set_random_state(self.device, self.epoch_random)
        batches = self.loader.epoch(self.epoch, skip)
        _set_random_state(self.device, now)
        return batches

    def end_steps(self) -> None:
        """Stop the clock when the device has done the steps of the epoch."""
        self._look_closely()
        self.seconds += time.perf_counter() - self._started

    def end_epoch(self, validation: Evaluation | None, patience: int | None) -> None:
        """Write the epoch's row; note the lowest validation loss, and stop if it is time."""
        self.epoch += 1
        self.recorder.end_epoch(
            epochs=self.epoch, lrs=self.rates.now(), validation=validation, seconds=self.seconds
        )
        self.seconds, self.epoch_random = 0.0, {}
        if validation is None:
            return
        if validation.loss < self.best_loss:
            self.best_loss, self.best_epoch = validation.loss, self.epoch
            self.best_state = copied(self.model.state_dict()) if patience else None
        elif patience and self.epoch - (self.best_epoch or 0) >= patience:
            self.stopped = True

    def restore_best(self) -> None:
        """Put the best weights back, where a run with patience kept them."""
        if self.best_state is not None:
            self.model.load_state_dict(self.best_state)

    def look(self) -> None:
        """Read the losses; a step that left the finite numbers ends the run."""
        self.step.settle()
        bad = self.recorder.look()
        self.show(self.recorder.examples)
        if bad is not None:
            self._give_up(bad)

    def _look_closely(self) -> None:
        """Look at the losses and at the parameters that the last step left."""
        self.look()
        finite = all(bool(torch.isfinite(p).all()) for p in self.model.parameters())
        if not self.step.agree(finite):
            self._give_up(self.recorder.steps)

    def _give_up(self, step: int) -> None:
        """Undo the epoch, in the model, the optimizer and the checkpoint, and raise."""
        lr, history = self.rates.now()[0], self.history()
        self.optimizer.zero_grad()
        self.load_state_dict(self._start)
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(self._buffers[name])
        if self._saved:
            if self._found or self.epoch:
                self._write()
            else:
                self.path.unlink(missing_ok=True)
            previous_path(self.path).unlink(missing_ok=True)
        error = DivergenceError(
            f"the loss stopped being finite at step {step}, in epoch {self.epoch + 1}: the "
            f"learning rate {lr:g} is probably above the stability limit, try {lr / 10:g}; model "
            f"and optimizer are back at the beginning of epoch {self.epoch + 1}",
            step=step,
            theta=self._start["model"],
        )
        error.history = history
        raise error

    def state_dict(self) -> dict:
        """Return everything that decides how the run goes on."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "record": self.recorder.state_dict(),
            "random": _random_state(self.device),
            **{name: getattr(self, name) for name in _PLAIN},
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.recorder.load_state_dict(state["record"])
        _set_random_state(self.device, state["random"])
        self.__dict__.update({name: state[name] for name in _PLAIN})

    def save(self) -> None:
        """Save the run, if that is wanted; if the disk refuses, say so and go on training."""
        if self.path is not None:
            self._look_closely()
            self._write()
            self._saved = True

    def _write(self) -> None:
        state, progress = self.state_dict(), self.progress(*self.recorder.place())
        state["identity"] = self.identity
        state["knobs"] = {k: _identity.sampled(knob, progress) for k, knob in self.knobs.items()}
        names = _identity.bare_names(state["model"])
        if any(bare != full for bare, full in names.items()):
            state["model"] = {bare: state["model"][full] for bare, full in names.items()}
        if (state := self.step.to_save(state)) is None:
            return
        try:
            save_checkpoint(self.path, state)
        except OSError as error:
            warnings.warn(f"{error.strerror}; training goes on", RuntimeWarning, stacklevel=3)

    def resume(self, *, any_seed: bool) -> None:
        """Go on from the checkpoint, if there is one; nothing is touched unless it is of this run.

        `any_seed` says that the seed of the checkpoint is as good as the one that was drawn.
        """
        if self.path is None:
            return
        for part in ("model", "optimizer"):  # can they be saved at all?
            plain(getattr(self, part).state_dict(), f"{part}.state_dict()")
        self._found = self.path.exists() or previous_path(self.path).exists()
        if not self._found:
            return
        path, state = self.path, load_checkpoint(self.path)
        if "identity" not in state:
            raise CheckpointError(f"{path}: a checkpoint, but not of a training run")
        own = self.model.state_dict()
        names, saved = _identity.bare_names(own), _identity.bare_names(state["model"])
        saved = {bare: state["model"][full] for bare, full in saved.items()}
        _identity.check_same_model(path, saved, {bare: own[full] for bare, full in names.items()})
        _identity.check_same(path, state["identity"], self.identity)
        for name, knob in self.knobs.items():
            _identity.check_same_knob(path, name, state["knobs"][name], knob)
        if not any_seed:
            _identity.check_same(path, {"seed": state["seed"]}, {"seed": self.seed})
        if own.keys() != state["model"].keys():
            state["model"] = {full: saved[bare] for bare, full in names.items()}
        self.load_state_dict(self.step.to_load(state))
        if self.loader.indices is not None:
            self.loader.indices.seed = self.seed


def _random_state(device: torch.device) -> dict:
    on_gpu = device.type == "cuda"
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if on_gpu else None,
    }


def _set_random_state(device: torch.device, state: dict) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
