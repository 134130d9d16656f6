"""Langevin dynamics of a network: the right factor of N, its exact law, and runs that go on."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sgdlib.deep import SGLD, train
from sgdlib.physics.posterior import linear_regression

RNG = np.random.default_rng(5)
N, D = 40, 2
X = RNG.normal(size=(N, D))
Y = X @ [1.0, -0.5] + RNG.normal(size=N)
MODEL = linear_regression(X, Y, noise_variance=1.0, prior_variance=0.5)
DATA = (torch.tensor(X), torch.tensor(Y))
CHAINS = 1500


class Chains(nn.Module):
    """Many linear models side by side, each with its own noise."""

    def __init__(self):
        super().__init__()
        start = torch.tensor(MODEL.posterior.mean).expand(CHAINS, D)
        self.theta = nn.Parameter(start.clone())

    def forward(self, x):
        return x @ self.theta.T


def losses(outputs, y):
    """Return half the squared residuals, summed over the chains: each has its own gradient."""
    return (outputs - y[:, None]).square().sum(dim=1) / 2


def assert_posterior(temperature, decay, grows=1.0):
    """Assert that full-batch chains have the posterior's law, but for the exact 1/(1 - lr h/2)."""
    model = Chains()
    lr = 0.1
    optimizer = SGLD(model.parameters(), lr, temperature=temperature, weight_decay=decay, rng=1)
    scale = (lambda outputs, y: grows * losses(outputs, y)) if grows != 1 else losses
    train(model, scale, DATA, batch_size=N, epochs=120, optimizer=optimizer, rng=0, device="cpu")
    theta = model.theta.detach().numpy()
    h, axes = np.linalg.eigh(MODEL.problem.hessian())
    exact = (axes / (N * h * (1 - lr * h / 2))) @ axes.T
    spread = np.sqrt(np.diag(exact))
    assert np.abs((theta.mean(0) - MODEL.posterior.mean) / spread).max() < 4.5 / CHAINS**0.5
    stderr = np.sqrt((np.outer(spread, spread) ** 2 + exact**2) / CHAINS)
    assert np.abs((np.cov(theta.T) - exact) / stderr).max() < 4.5


def test_a_conjugate_posterior():
    assert_posterior(1 / N, 1 / (N * 0.5))


PLANTED = {
    "N is missing: the temperature of a mean loss is 1/N": (1.0, 1 / (N * 0.5), 1.0),
    "off by 2": (2 / N, 1 / (N * 0.5), 1.0),
    "the prior without its 1/N": (1 / N, 1 / 0.5, 1.0),
    "a sum where a mean is meant, half of it": (1 / N, 1 / (N * 0.5), 2.0),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bugs_are_noticed(name):
    with pytest.raises(AssertionError):
        assert_posterior(*PLANTED[name])


def test_a_step_is_its_formula():
    theta = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = SGLD([theta], 0.1, temperature=0.3, weight_decay=0.5, rng=7)
    xi = torch.randn(2, generator=torch.Generator().manual_seed(
        int(np.random.default_rng(7).integers(2**63))), dtype=torch.float64)  # fmt: skip
    theta.grad = torch.tensor([4.0, 5.0], dtype=torch.float64)
    g = theta.grad + 0.5 * theta.detach()
    expected = theta.detach() - 0.1 * g + math.sqrt(2 * 0.1 * 0.3) * xi
    optimizer.step()
    torch.testing.assert_close(theta.detach(), expected)
    torch.testing.assert_close(theta.grad, torch.tensor([4.0, 5.0], dtype=torch.float64))


def test_temperature_zero_is_torchs_sgd():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(2, 1).double(), nn.Linear(2, 1).double()
    theirs.load_state_dict(ours.state_dict())

    def squares(outputs, y):
        return (outputs[:, 0] - y).square()

    options = {"batch_size": 7, "epochs": 3, "rng": 0, "device": "cpu"}
    cold = SGLD(ours.parameters(), 0.1, temperature=0.0, weight_decay=0.2)
    torchs = torch.optim.SGD(theirs.parameters(), 0.1, weight_decay=0.2)
    train(ours, squares, DATA, optimizer=cold, **options)
    train(theirs, squares, DATA, optimizer=torchs, **options)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_a_checkpoint_carries_the_noise(tmp_path):
    def one(epochs, **options):
        torch.manual_seed(0)
        model = nn.Linear(2, 1).double()
        optimizer = SGLD(model.parameters(), 0.05, temperature=0.01, rng=3)
        train(model, lambda out, y: (out[:, 0] - y).square(), DATA, batch_size=7, epochs=epochs,
              optimizer=optimizer, rng=0, device="cpu", **options)  # fmt: skip
        return model.weight.detach()

    state = torch.get_rng_state()
    whole = one(6)
    one(2, checkpoint=tmp_path / "run")
    torch.testing.assert_close(one(6, checkpoint=tmp_path / "run"), whole, rtol=0, atol=0)
    assert not torch.equal(state, torch.zeros_like(state))


def test_torchs_random_numbers_are_left_alone():
    theta = nn.Parameter(torch.zeros(3))
    theta.grad = torch.zeros(3)
    state = torch.get_rng_state()
    SGLD([theta], 0.1, temperature=1.0, rng=0).step()
    assert torch.equal(state, torch.get_rng_state())


def test_what_is_refused():
    theta = nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match="temperature=-1"):
        SGLD([theta], 0.1, temperature=-1)
    with pytest.raises(ValueError, match="params: expected at least one"):
        SGLD([], 0.1, temperature=1)
    with pytest.raises(ValueError, match=r"lr=-0\.1"):
        SGLD([{"params": [theta], "lr": -0.1}], 0.1, temperature=1)
    with pytest.raises(TypeError, match="closure"):
        SGLD([theta], 0.1, temperature=1).step(lambda: 0.0)
