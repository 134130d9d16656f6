"""Points of a domain: quadratures against polynomials, placements against their laws."""

from math import factorial

import numpy as np
import pytest
import torch

from sgdlib.deep import DomainPoints, gauss_legendre


@pytest.mark.parametrize("points", [1, 2, 5])
@pytest.mark.parametrize("cells", [1, 3])
@pytest.mark.parametrize("dim", [1, 2])
def test_a_rule_is_exact_up_to_its_degree_and_no_further(points, cells, dim):
    x, w = gauss_legendre(points, cells=cells, dim=dim)
    assert x.shape == ((points * cells) ** dim, dim)
    assert w.shape == x.shape[:1]
    assert np.all((x > 0) & (x < 1))
    for degree in range(2 * points):
        powers = x ** np.arange(degree, degree - dim, -1).clip(0)
        exact = np.prod([1 / (max(degree - i, 0) + 1) for i in range(dim)])
        assert w @ powers.prod(axis=1) == pytest.approx(exact, rel=1e-12)
    error = 1 / (2 * points + 1) - w @ x[:, 0] ** (2 * points)
    known = factorial(points) ** 4 / (2 * points + 1) / factorial(2 * points) ** 2
    assert error == pytest.approx(known / cells ** (2 * points), rel=1e-3)


def drawn(placement, batch_size, batches, **options):
    """Return the batches of an epoch, (batches, B, ...)."""
    loader = DomainPoints(batch_size, steps=batches, placement=placement, **options)
    return torch.stack(list(loader)).double()


def cosine_mean_variance(placement, batch_size, patch):
    """Var of the mean of sqrt(2) cos(2 pi x): 1 for one point; sinc keeps what a cell averages."""
    if placement == "independent":
        return 1 / batch_size
    if placement == "patch":
        rho = np.sinc(patch) ** 2
        return (1 + (batch_size - 1) * rho) / batch_size
    return (1 - np.sinc(1 / batch_size) ** 2) / batch_size


PLACEMENTS = [("independent", None), ("patch", 0.3), ("patch", 1.0), ("stratified", None)]


def moments(x):
    """Return mean and variance of the batches' means of sqrt(2) cos(2 pi x), in errors of both."""
    means = (2**0.5 * torch.cos(2 * torch.pi * x[..., 0])).mean(dim=1).numpy()
    square = (means**2).mean()
    return means.mean(), (square / len(means)) ** 0.5, square, (means**2).std() / len(means) ** 0.5


@pytest.mark.parametrize(("placement", "patch"), PLACEMENTS)
def test_the_mean_of_a_batch_is_unbiased_and_has_the_variance_of_its_placement(placement, patch):
    mean, error, square, square_error = moments(drawn(placement, 8, 40_000, patch=patch, rng=1))
    assert abs(mean) < 4 * error
    expected = cosine_mean_variance(placement, 8, patch)
    assert abs(square - expected) < 4 * square_error
    # the planted bug: a patch or strata taken for independent points
    if placement != "independent" and patch != 1:
        assert abs(square - 1 / 8) > 10 * square_error


def test_a_patch_that_is_not_closed_to_a_torus_would_be_biased():
    """The twin: corners in [0, 1 - patch] leave the boundary out."""
    rng = np.random.default_rng(2)
    wrong = rng.random((40_000, 1, 1)) * 0.7 + 0.3 * rng.random((40_000, 8, 1))
    mean, error, *_ = moments(torch.from_numpy(wrong))
    assert abs(mean) > 10 * error


@pytest.mark.parametrize(("placement", "patch"), PLACEMENTS)
def test_points_of_the_plane_lie_where_they_should(placement, patch):
    x = drawn(placement, 9, 500, patch=patch, dim=2, shape=(3,), rng=0)
    assert x.shape == (500, 9, 3, 2)
    assert 0 <= x.min() < 0.02
    assert 0.98 < x.max() <= 1
    if placement == "stratified":
        cells = (3 * x.clamp(max=1 - 1e-9)).long()
        cells = cells[..., 0] * 3 + cells[..., 1]
        assert torch.equal(cells, torch.arange(9)[None, :, None].expand_as(cells))
    if patch == 0.3:
        away = (x - x[:, :1] + 0.5) % 1 - 0.5
        assert away.abs().max() <= 0.3 + 1e-6
        assert (x[:, :, 0] - x[:, :, 1]).std() > 0.2  # each column has a patch of its own


def test_an_epoch_follows_from_seed_and_number():
    loader = DomainPoints(4, steps=5, rng=3)
    first, second = list(loader), list(loader)
    assert not torch.equal(first[0], second[0])
    loader.set_epoch(1)
    assert all(torch.equal(a, b) for a, b in zip(second, loader, strict=True))
    again = DomainPoints(4, steps=5, rng=3)
    assert torch.equal(next(iter(again)), first[0])
    assert not torch.equal(next(iter(DomainPoints(4, steps=5, rng=4))), first[0])
    assert (len(loader), loader.n) == (5, 20)


def test_blocks_make_no_seam(monkeypatch):
    whole = list(DomainPoints(4, steps=7, rng=3))
    monkeypatch.setattr("sgdlib.deep.points._BLOCK_NUMBERS", 8)
    assert all(
        torch.equal(a, b) for a, b in zip(whole, DomainPoints(4, steps=7, rng=3), strict=True)
    )


def test_torchs_random_state_is_left_alone():
    before = torch.get_rng_state()
    list(DomainPoints(4, steps=2))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 0.1}, "patch=0.1: expected"),
        ({"placement": "patch"}, "patch=None: expected"),
        ({"placement": "patch", "patch": 0}, "patch=0"),
        ({"placement": "patch", "patch": 1.5}, "patch=1.5"),
        ({"placement": "stratified", "dim": 2}, "batch_size=8: expected the power 2"),
        ({"placement": "grid"}, "placement='grid'"),
        ({"shape": (2, 0)}, "shape=0"),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        DomainPoints(8, **({"steps": 2} | options))
