r"""Many networks of one architecture, trained at once.

A small network keeps a processor mostly waiting. R of them, with their weights stacked along a
first axis, are one larger piece of work: a linear layer becomes the batched product

    out[r] = x[r] W[r]' + b[r],        x of shape (R, B, in), W of shape (R, out, in).

The networks share nothing but the clock. Each has its own batches, learning rate and seed, and ends
where it would have ended alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, vmap

from sgdlib import _check
from sgdlib.deep import _inputs
from sgdlib.deep.accumulation import Loss
from sgdlib.deep.evaluation import is_classification
from sgdlib.deep.indices import IndexBatches

# Rows of activations held at once: more leave the cache, fewer leave the processor waiting.
_CPU_ROWS, _GPU_ROWS = 3_000, 1 << 20
_ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Identity)


@dataclass(frozen=True)
class EnsembleHistory:
    """What R networks did in K epochs.

    Attributes
    ----------
    losses
        (K, R) mean loss of each epoch's batches, each taken before its step.
    validation_losses, validation_accuracies
        (R,) at the end; accuracies are None where the targets are not labels. Both None without
        validation data.
    """

    losses: np.ndarray
    validation_losses: np.ndarray | None
    validation_accuracies: np.ndarray | None


class Ensemble:
    """The stacked parameters of networks of one architecture, as one function.

    Parameters
    ----------
    models
        Modules of the same architecture, without buffers (batch normalisation keeps some).
    device
        Where to put the parameters; None: a GPU if there is one.

    Attributes
    ----------
    parameters
        Dict of tensors (R, ...), by the names of `model.named_parameters()`.

    Notes
    -----
    `nn.Sequential` of linear and elementwise layers runs as batched products; any other module
    runs under `torch.func.vmap`. Used in the chapter *Linear scaling*.

    Examples
    --------
    >>> ensemble = Ensemble([nn.Linear(3, 2) for _ in range(5)])
    >>> tuple(ensemble(torch.zeros(5, 7, 3)).shape)
    (5, 7, 2)
    """

    def __init__(self, models: Sequence[nn.Module], device: torch.device | str | None = None):
        self.models = list(models)
        if not self.models:
            raise ValueError("models: expected at least one, got none")
        if len({id(m) for m in self.models}) < len(self.models):
            raise ValueError("models: expected different objects, got one of them twice")
        shapes = [{k: tuple(p.shape) for k, p in m.named_parameters()} for m in self.models]
        first = repr(self.models[0])
        for i, s in enumerate(shapes):
            # The printed form knows the layers and their options: ReLU is not Tanh.
            if s != shapes[0] or repr(self.models[i]) != first:
                raise ValueError(f"models[{i}]: expected the architecture of models[0]")
        buffer = next((name for name, _ in self.models[0].named_buffers()), None)
        if buffer is not None:
            raise ValueError(f"models: expected no buffers, got {buffer!r} (batch normalisation?)")
        self.device = _inputs.find_device(device)
        each = [dict(m.named_parameters()) for m in self.models]
        self.parameters = {
            name: torch.stack([p[name].detach() for p in each]).to(self.device).requires_grad_()
            for name in shapes[0]
        }
        self._layers = _batched_layers(self.models[0])

    def __len__(self) -> int:
        return len(self.models)

    def __call__(self, x: torch.Tensor, which: slice = slice(None)) -> torch.Tensor:
        """Return the outputs (R, B, ...) of the models `which` for inputs x (R, B, ...)."""
        parameters = {name: p[which] for name, p in self.parameters.items()}
        return self.forward(parameters, x)

    def forward(self, parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Return the outputs for stacked `parameters` of some of the models."""
        if self._layers is None:
            one = self.models[0]
            call = vmap(lambda p, v: functional_call(one, p, (v,)), randomness="different")
            return call(parameters, x)
        for layer, name in self._layers:
            x = layer(x, parameters, name)
        return x

    def write_back(self) -> None:
        """Copy the stacked parameters into the models."""
        where = next(iter(self.models[0].parameters())).device
        stacked = {name: p.detach().to(where) for name, p in self.parameters.items()}  # at once
        with torch.no_grad():
            for r, model in enumerate(self.models):
                for name, p in model.named_parameters():
                    p.copy_(stacked[name][r])


def _batched_layers(model: nn.Module) -> list[tuple] | None:
    """Return the layers as functions of stacked parameters, or None if some have no such form."""
    if type(model) not in (nn.Sequential, nn.Linear):  # a subclass may have its own forward
        return None
    # `named_children` would leave out a layer that is used twice.
    named = [("", model)] if type(model) is nn.Linear else list(model._modules.items())
    layers, first = [], {}
    for place, module in named:
        name = first.setdefault(module, place)  # where its parameters are listed
        if type(module) is nn.Linear:
            layers.append((_linear, f"{name}." if name else ""))
        elif type(module) in _ELEMENTWISE:
            layers.append((lambda x, _, module: module(x), module))
        elif type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
            layers.append((lambda x, *_: x.flatten(2), name))
        else:
            return None
    return layers


def _linear(x, parameters, prefix):
    weight, bias = parameters[prefix + "weight"], parameters.get(prefix + "bias")
    if bias is None:
        return torch.bmm(x, weight.mT)
    return torch.baddbmm(bias[:, None], x, weight.mT)


def train_ensemble(
    models: Sequence[nn.Module],
    loss: Loss,
    data: Sequence[torch.Tensor],
    *,
    batch_size: int,
    epochs: int,
    lr: float | np.ndarray | Callable[[float], float | np.ndarray],
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    sampling: str = "reshuffle",
    last: str = "scale",
    validation: Sequence[torch.Tensor] | None = None,
    device: torch.device | str | None = None,
    rng: int | np.random.Generator | Sequence[int] | None = None,
) -> EnsembleHistory:
    """Train R networks in place by SGD, each on batches of its own, as if each were alone.

    Parameters
    ----------
    models
        R modules of one architecture.
    loss
        Function of outputs (B, ...) and targets that returns one loss per example, shape (B,).
    data
        Inputs and targets, tensors with N rows each, shared by all.
    batch_size
        One int for all networks: group runs by batch size.
    epochs
        Number of passes over the data.
    lr
        A number, (R,) numbers, or a schedule of progress in epochs that returns either.
    momentum, weight_decay
        As in `torch.optim.SGD`.
    sampling, last
        See `sgdlib.batching.batches`.
    validation
        Inputs and targets on which each network is evaluated at the end.
    device
        Where to train; None: a GPU if there is one.
    rng
        R seeds, one for each network's batches (those of ``train(..., rng=seed)``), or one seed
        or Generator from which they are drawn.

    Returns
    -------
    EnsembleHistory
        A network that diverges shows losses that are not finite; the others do not notice.

    Raises
    ------
    ValueError, TypeError
        For bad arguments or data, in one sentence, before any work is done.

    Notes
    -----
    Used in the chapter *Linear scaling*.
    """
    ensemble = Ensemble(models, device)
    _inputs.check_data("data", data)
    batch_size = _check.integer("batch_size", batch_size)
    epochs = _check.integer("epochs", epochs)
    momentum = _check.number("momentum", momentum, at_least=0, below=1)
    weight_decay = _check.number("weight_decay", weight_decay, at_least=0)
    count = len(ensemble)
    rates = lr if callable(lr) else _constant_rates(lr, count)
    orders = [
        IndexBatches(len(data[0]), batch_size, sampling=sampling, last=last, rng=seed)
        for seed in _seeds(rng, count)
    ]
    checked = {"data": data} if validation is None else {"data": data, "validation": validation}
    _inputs.check_fit(ensemble.models[0].to(data[0].device), loss, checked, "float32")
    data = [t.to(ensemble.device) for t in data]
    for model in ensemble.models:
        model.train()
    limit = _CPU_ROWS if ensemble.device.type == "cpu" else _GPU_ROWS
    together = min(count, max(1, limit // batch_size))

    losses = np.empty((epochs, count))
    for start in range(0, count, together):
        which = slice(start, min(start + together, count))
        # Views, so that the in-place update moves the ensemble's own parameters.
        part = {name: p.data[which].requires_grad_() for name, p in ensemble.parameters.items()}
        like = next(iter(part.values()))
        velocity = {name: torch.zeros_like(p) for name, p in part.items()}
        step_sizes = _StepSizes(like)
        for epoch in range(epochs):
            total = torch.zeros(which.stop - start, device=ensemble.device, dtype=torch.float64)
            weight_sum, position = 0.0, 0
            for indices, weights, sum_of_weights in _steps(orders[which], epoch, like):
                progress = epoch + position / len(data[0])
                rate = np.broadcast_to(rates(progress), (count,))[which]
                batch = [t.index_select(0, indices.flatten()) for t in data]
                x = batch[0].unflatten(0, indices.shape)
                outputs = ensemble.forward(part, x).flatten(0, 1)
                each = loss(outputs, *batch[1:]).view(indices.shape)
                spread = weights.expand_as(each)
                gradients = torch.autograd.grad(each, list(part.values()), spread)
                _update(part, gradients, velocity, step_sizes(rate), momentum, weight_decay)
                total += (each.detach() * weights).sum(dim=1)
                weight_sum += sum_of_weights
                position += indices.shape[1]
            losses[epoch, which] = (total / weight_sum).cpu()
    ensemble.write_back()
    measured = evaluate_ensemble(ensemble, loss, validation) if validation else (None, None)
    return EnsembleHistory(losses, *measured)


def evaluate_ensemble(
    ensemble: Ensemble, loss: Loss, data: Sequence[torch.Tensor]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return mean losses (R,) and accuracies (R,) or None, over every example of `data`."""
    _inputs.check_data("data", data)
    count, rows = len(ensemble), max(1, 200_000 // len(ensemble))
    total, hits, labels = np.zeros(count), np.zeros(count), False
    one = ensemble.models[0]
    modes = {module: module.training for module in one.modules()}
    one.eval()
    try:
        with torch.inference_mode():
            for part in zip(*(t.split(rows) for t in data), strict=True):
                x, *targets = (t.to(ensemble.device) for t in part)
                outputs = ensemble(x.expand(count, *x.shape)).flatten(0, 1)
                repeated = [t.expand(count, *t.shape).flatten(0, 1) for t in targets]
                each = loss(outputs, *repeated).view(count, -1)
                total += each.double().sum(dim=1).cpu().numpy()
                labels = is_classification(outputs, repeated)
                if labels:
                    right = outputs.argmax(dim=1) == repeated[0]
                    hits += right.view(count, -1).sum(dim=1).cpu().numpy()
    finally:
        for module, training in modes.items():
            module.training = training
    n = len(data[0])
    return total / n, hits / n if labels else None


def _steps(orders, epoch, like) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
    """Yield the indices (G, B), the weights (B,) and their sum for each step of a group's `epoch`.

    Device and precision are those of the tensor `like`.
    """
    device, dtype = like.device, like.dtype
    for blocks in zip(*(order.blocks(epoch, device=device) for order in orders), strict=True):
        # (G, k, B): the same number of batches for each network
        parts = [b.indices for b in blocks]
        on_device = isinstance(parts[0], torch.Tensor)
        stacked = torch.stack(parts) if on_device else torch.from_numpy(np.stack(parts)).to(device)
        weights = torch.tensor(blocks[0].weights, dtype=dtype, device=device)
        for indices in stacked.unbind(dim=1):
            yield indices, weights, float(blocks[0].weights.sum())


class _StepSizes:
    """Rates (G,) as a number, where they are equal, or as a tensor: made anew if they change.

    A tensor made in every step would make the program wait for a GPU each time.
    """

    def __init__(self, like: torch.Tensor):
        self._like, self._rates, self._made = like, None, None

    def __call__(self, rates: np.ndarray) -> float | torch.Tensor:
        if self._rates is None or not np.array_equal(rates, self._rates):
            self._rates = rates.copy()
            if (rates == rates[0]).all():
                self._made = float(rates[0])
            else:
                self._made = torch.tensor(rates, dtype=self._like.dtype, device=self._like.device)
        return self._made


def _update(parameters, gradients, velocity, rate, momentum, weight_decay):
    """``v <- momentum v + g + weight_decay p;  p <- p - rate v``, each network at its own rate."""
    with torch.no_grad():
        for (name, p), g in zip(parameters.items(), gradients, strict=True):
            if weight_decay:
                g = g.add(p, alpha=weight_decay)
            if momentum:
                g = velocity[name].mul_(momentum).add_(g)
            if isinstance(rate, float):
                p.sub_(g, alpha=rate)
            else:
                p.addcmul_(g, rate.view(-1, *[1] * (p.ndim - 1)), value=-1)


def _constant_rates(lr, count):
    rates = _check.array("lr", lr, ndim=(0, 1))
    if rates.ndim == 1 and len(rates) != count:
        raise ValueError(f"lr: expected a number or {count} of them, got shape {rates.shape}")
    if rates.min() < 0:
        raise ValueError(f"lr={rates.min():g}: expected a finite number >= 0")
    return lambda progress: rates


def _seeds(rng, count):
    if isinstance(rng, Sequence | np.ndarray):
        if len(rng) != count:
            raise ValueError(f"rng: expected {count} seeds, one per network, got {len(rng)}")
        return [_check.integer("rng", seed, low=0) for seed in rng]
    return _check.generator(rng).spawn(count)
