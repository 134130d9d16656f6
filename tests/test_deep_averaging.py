"""Averages of weights: against torch's own, NumPy's covariance, and what they must leave alone."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from sgdlib.deep import SWA, SWAG, load_checkpoint, save_checkpoint, train, update_batch_norm

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
Y = X[:, :1].clone()
OPTIONS = {"batch_size": 10, "epochs": 6, "lr": 0.05, "rng": 0, "device": "cpu"}


def squares(outputs, y):
    return (outputs - y).square().mean(dim=1)


def network(norm=False):
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(4)] if norm else []
    return nn.Sequential(nn.Linear(3, 4), *middle, nn.Tanh(), nn.Linear(4, 1))


def vector(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def run(make, **options):
    """Train with a hook, and keep every snapshot that there could have been."""
    model, by_step, by_epoch = network(), [], []
    hook = make(model)

    def watch(moment):
        (by_epoch if moment.batch is None else by_step).append(vector(moment.model))
        hook(moment)

    train(model, squares, (X, Y), hook=watch, **OPTIONS | options)
    return hook, torch.stack(by_step).double(), torch.stack(by_epoch).double()


# -- SWA --


@pytest.mark.parametrize("start", [0, 3, 4.5])
def test_the_mean_of_the_epochs(start):
    swa, _, by_epoch = run(lambda model: SWA(model, start=start))
    kept = by_epoch[max(0, int(np.ceil(start)) - 1) :]
    assert swa.count == len(kept)
    torch.testing.assert_close(
        vector(swa.averaged.module).double(), kept.mean(0), rtol=0, atol=1e-6
    )


def test_the_mean_of_every_so_many_steps():
    swa, by_step, _ = run(lambda model: SWA(model, start=2, every=4))
    kept = by_step[11::4]  # steps 12, 16, ..., 36 of 6 an epoch
    assert swa.count == len(kept) == 7
    torch.testing.assert_close(
        vector(swa.averaged.module).double(), kept.mean(0), rtol=0, atol=1e-6
    )


def test_it_is_torchs_averaged_model():
    model, judge = network(norm=True), None
    swa, judge = SWA(model), AveragedModel(network(norm=True))

    def watch(moment):
        swa(moment)
        if moment.batch is None:
            judge.update_parameters(moment.model)

    train(model, squares, (X, Y), hook=watch, **OPTIONS)
    for ours, theirs in zip(swa.averaged.state_dict().items(), judge.state_dict().items(),
                            strict=True):  # fmt: skip
        assert ours[0] == theirs[0]
        torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=0)


@pytest.mark.parametrize("kind", [SWA, SWAG])
def test_the_run_is_what_it_is_without(kind):
    alone = network()
    train(alone, squares, (X, Y), **OPTIONS)
    _, by_step, _ = run(kind)
    torch.testing.assert_close(by_step[-1].float(), vector(alone), rtol=0, atol=0)


# -- SWAG --


def covariance_of(swag, count, seed=1):
    rng = np.random.default_rng(seed)
    drawn = torch.stack([vector(swag.sample(rng=rng)) for _ in range(count)]).double().numpy()
    return drawn.mean(0), np.cov(drawn.T)


def assert_law(swag, snapshots, count=1500):
    """Assert that samples have mean and covariance of the formula, in standard errors."""
    kept = snapshots.double().numpy()
    mean, last = kept.mean(0), kept[-swag.rank :] - kept.mean(0)
    exact = (np.diag(kept.var(0)) + last.T @ last / (len(last) - 1)) / 2
    found_mean, found = covariance_of(swag, count)
    scale = np.sqrt(np.diag(exact))
    assert np.abs((found_mean - mean) / scale).max() < 5 / count**0.5
    stderr = np.sqrt((np.outer(scale, scale) ** 2 + exact**2) / count)
    assert np.abs((found - exact) / stderr).max() < 5.5


@pytest.mark.parametrize("rank", [2, 5, 30])
def test_samples_have_the_law_of_the_formula(rank):
    swag, by_step, _ = run(lambda model: SWAG(model, rank=rank, start=2, every=2))
    assert_law(swag, by_step[11::2])
    with pytest.raises(AssertionError):  # the twins: other snapshots, a covariance twice as large
        assert_law(swag, by_step[1::2])
    swag._squares *= 2
    swag._last = type(swag._last)((2**0.5 * (t - swag._mean()) + swag._mean() for t in swag._last),
                                  maxlen=rank)  # fmt: skip
    with pytest.raises(AssertionError):
        assert_law(swag, by_step[11::2])


def test_variance_and_not_its_root():
    """Three public copies had the variance for the standard deviation."""
    model = nn.Linear(1, 1, bias=False)
    swag = SWAG(model, rank=2)
    for value in (0.0, 8.0):
        nn.init.constant_(model.weight, value)
        swag.collect(model)
    drawn = np.array([swag.sample(rng=s).weight.item() for s in range(3000)])
    exact = (16 + 32) / 2  # a quarter of 64, and the sample variance of two
    assert abs(drawn.var() - exact) < 5 * exact * (2 / 3000) ** 0.5
    assert abs(drawn.mean() - 4) < 5 * (exact / 3000) ** 0.5


def test_small_variances_of_large_weights_survive_float32():
    """A mean of squares less a squared mean would be rounding: 1 against 1e-8."""
    model, rng = nn.Linear(50, 1, bias=False), torch.Generator().manual_seed(3)
    swag, kept = SWAG(model, rank=2), []
    for _ in range(200):
        with torch.no_grad():
            model.weight.copy_(1 + 1e-4 * torch.randn(1, 50, generator=rng))
        kept.append(vector(model).double())
        swag.collect(model)
    exact = torch.stack(kept).var(0, correction=0)
    torch.testing.assert_close(swag.variances().double(), exact, rtol=2e-2, atol=0)
    naive = (torch.stack(kept).float() ** 2).mean(0) - torch.stack(kept).float().mean(0) ** 2
    assert ((naive - exact) / exact).abs().max() > 1


def test_samples_follow_their_seed_alone():
    swag, _, _ = run(lambda model: SWAG(model, start=2))
    state, drawn = torch.get_rng_state(), vector(swag.sample(rng=5))
    assert torch.equal(drawn, vector(swag.sample(rng=5)))
    assert not torch.equal(drawn, vector(swag.sample(rng=6)))
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match="at least 2 snapshots"):
        SWAG(network()).sample(rng=0)


@pytest.mark.parametrize("kind", [SWA, SWAG])
def test_they_go_on_from_a_checkpoint(kind, tmp_path):
    """A run cut in two, its average saved beside it, ends as one run."""
    whole, _, _ = run(lambda model: kind(model, start=1))
    model = network()
    hook, options = kind(model, start=1), OPTIONS | {"checkpoint": tmp_path / "run"}
    train(model, squares, (X, Y), hook=hook, **options | {"epochs": 3})
    save_checkpoint(tmp_path / "average", hook.state_dict())
    again, model = kind(model, start=1), network()
    again.load_state_dict(load_checkpoint(tmp_path / "average"))
    train(model, squares, (X, Y), hook=again, **options)
    assert again.count == whole.count
    torch.testing.assert_close(vector(again.averaged), vector(whole.averaged), rtol=0, atol=0)
    if kind is SWAG:
        ours, theirs = vector(again.sample(rng=1)), vector(whole.sample(rng=1))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


# -- batch normalisation --


def test_statistics_are_torchs():
    ours, judge = network(norm=True), network(norm=True)
    rows = np.random.default_rng(4).permutation(60)[:56]
    update_batch_norm(ours, X, batch_size=14, rng=4)
    update_bn(X[rows].split(14), judge)
    for a, b in zip(ours.buffers(), judge.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_sorted_data_are_shuffled():
    """In batches of one kind the variance would miss that between kinds."""
    x = torch.cat([torch.full((32, 1), -5.0), torch.full((32, 1), 5.0)])
    layer = nn.BatchNorm1d(1)
    update_batch_norm(layer, x, batch_size=16, rng=0)
    assert layer.running_var.item() > 20
    update_bn(x.split(16), layer)
    assert layer.running_var.item() == 0


def test_the_averaged_network_needs_it():
    torch.manual_seed(1)
    model = network(norm=True)
    swa = SWA(model, start=10)
    train(model, squares, (X, Y), hook=swa, **OPTIONS | {"epochs": 40, "lr": 0.3})
    averaged = swa.averaged.module
    stale = averaged[1].running_mean.clone()
    weights = vector(averaged)
    update_batch_norm(averaged, X, batch_size=60, rng=0)
    with torch.no_grad():
        torch.testing.assert_close(averaged[1].running_mean, averaged[0](X).mean(0))
    assert not torch.allclose(stale, averaged[1].running_mean, atol=1e-3)
    assert torch.equal(weights, vector(averaged))


def test_what_it_leaves_as_found():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.BatchNorm1d(4))
    model.train()
    model[3].eval()
    aside, state = copy.deepcopy(model[3]), torch.get_rng_state()
    update_batch_norm(model, X, batch_size=20, rng=0)
    assert [m.training for m in model] == [True, True, True, False]
    assert model[1].momentum == 0.1
    assert torch.equal(aside.running_mean, model[3].running_mean)
    assert model[1].running_mean.abs().sum() > 0
    assert torch.equal(state, torch.get_rng_state())
    plain = network()
    update_batch_norm(plain, X, rng=0)  # nothing to do
    with pytest.raises(ValueError, match="x: expected at least 2"):
        update_batch_norm(model, X[:1])
    with pytest.raises(TypeError, match="x: expected a tensor"):
        update_batch_norm(model, X.numpy())
