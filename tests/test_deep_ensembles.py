"""Networks trained at once end where each would have ended alone."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgdlib.deep import ensembles as ensembles_module
from sgdlib.deep import evaluate, train
from sgdlib.deep.ensembles import Ensemble, evaluate_ensemble, train_ensemble
from sgdlib.schedules import cosine

N, D, CLASSES, R = 83, 6, 4, 5
SEEDS = [3, 1, 4, 15, 9]


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


X = gaussian(N, D)
LABELS = (X @ gaussian(D, CLASSES, seed=1)).argmax(1)
DATA = (X, LABELS)


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def sequential():
    return nn.Sequential(nn.Linear(D, 7), nn.ReLU(), nn.Linear(7, CLASSES, bias=False))


class Residual(nn.Module):
    """No `nn.Sequential`: runs under vmap."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(D, D), nn.Linear(D, CLASSES)

    def forward(self, x):
        return self.last(x + torch.tanh(self.first(x)))


def shared_activation():
    act = nn.Tanh()
    return nn.Sequential(nn.Linear(D, 7), act, nn.Linear(7, 7), act, nn.Linear(7, CLASSES))


def shared_layer():
    layer = nn.Linear(D, D)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(D, CLASSES))


class Doubled(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


ARCHITECTURES = {
    "sequential": sequential,
    "linear": lambda: nn.Linear(D, CLASSES),
    "flatten": lambda: nn.Sequential(nn.Flatten(), nn.Linear(D, CLASSES)),
    "vmap": Residual,
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(D, 7), nn.SiLU()), nn.Linear(7, 4)),
    "one activation twice": shared_activation,
    "one layer twice": shared_layer,
    "own forward": lambda: Doubled(nn.Linear(D, 7), nn.ReLU(), nn.Linear(7, CLASSES)),
}


def models(architecture=sequential, count=R, dtype=torch.float64):
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(architecture().to(dtype))
    return made


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def check_alone(
    architecture=sequential,
    *,
    data=DATA,
    lr=0.2,
    seeds=SEEDS,
    rtol=1e-9,
    dtype=torch.float64,
    **how,
):
    """`train_ensemble` and `train`, one network after another, end in the same place."""
    together, alone = models(architecture, dtype=dtype), models(architecture, dtype=dtype)
    how = {"batch_size": 10, "epochs": 3} | how
    found = train_ensemble(together, cross_entropy, data, lr=lr, rng=seeds, device="cpu", **how)
    for r, model in enumerate(alone):
        rate = lr[r] if isinstance(lr, np.ndarray) else lr
        history = train(model, cross_entropy, data, lr=rate, rng=SEEDS[r], device="cpu", **how)
        torch.testing.assert_close(flat(together[r]), flat(model), rtol=rtol, atol=rtol / 10)
        np.testing.assert_allclose(found.losses[:, r], history.losses, rtol=max(rtol, 1e-6))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sampling", ["reshuffle", "sequential"])
def test_without_a_warning(sampling):
    options = {"batch_size": 10, "epochs": 1, "lr": 0.1, "device": "cpu"}
    train_ensemble(models(), cross_entropy, DATA, sampling=sampling, **options)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_ends_where_it_would_have_ended_alone(name):
    check_alone(ARCHITECTURES[name])


def test_batches_of_another_network_are_seen():
    with pytest.raises(AssertionError):
        check_alone(seeds=SEEDS[::-1])


@pytest.mark.parametrize("last", ["scale", "drop", "pad", "wrap"])
def test_every_rule_for_the_last_batch(last):
    check_alone(last=last)


@pytest.mark.parametrize("sampling", ["shuffle_once", "sequential", "replacement", "subset"])
def test_every_sampling(sampling):
    check_alone(sampling=sampling)


def test_more_blocks_than_one():
    data = tuple(t.repeat(120, *[1] * (t.ndim - 1)) for t in DATA)
    check_alone(data=data, batch_size=500, epochs=2, sampling="replacement")


@pytest.mark.parametrize(
    "lr", [cosine(0.2, length=2.5), np.array([0.0, 0.1, 0.2, 0.3, 0.4])], ids=["schedule", "each"]
)
def test_learning_rates(lr):
    check_alone(lr=lr)


def test_a_schedule_with_a_rate_for_each_network():
    factors = np.linspace(0.05, 0.3, R)
    together, alone = models(), models()
    train_ensemble(
        together, cross_entropy, DATA, batch_size=10, epochs=2, rng=SEEDS, device="cpu",
        lr=lambda progress: factors / (1 + progress),
    )  # fmt: skip
    for r, model in enumerate(alone):
        train(
            model, cross_entropy, DATA, batch_size=10, epochs=2, rng=SEEDS[r], device="cpu",
            lr=lambda progress, r=r: factors[r] / (1 + progress),
        )  # fmt: skip
        torch.testing.assert_close(flat(together[r]), flat(model), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.9, 0.0), (0.0, 0.05), (0.5, 0.05)])
def test_momentum_and_weight_decay_are_torchs(momentum, weight_decay):
    together, alone = models(), models()
    options = {"batch_size": 10, "epochs": 3, "device": "cpu"}
    train_ensemble(
        together, cross_entropy, DATA, lr=0.1, momentum=momentum, weight_decay=weight_decay,
        rng=SEEDS, **options,
    )  # fmt: skip
    for r, model in enumerate(alone):
        sgd = torch.optim.SGD(model.parameters(), 0.1, momentum=momentum, weight_decay=weight_decay)
        train(model, cross_entropy, DATA, optimizer=sgd, rng=SEEDS[r], **options)
        torch.testing.assert_close(flat(together[r]), flat(model), rtol=1e-8, atol=1e-11)


def test_float32_to_rounding():
    check_alone(data=(X.float(), LABELS), dtype=torch.float32, rtol=1e-4)


@pytest.mark.parametrize("rows", [10, 20, 35])
def test_groups_change_nothing(monkeypatch, rows):
    monkeypatch.setattr(ensembles_module, "_CPU_ROWS", rows)  # 1, 2 and 3 networks at a time
    check_alone(lr=np.array([0.0, 0.1, 0.2, 0.3, 0.4]))


def outputs_by_vmap(monkeypatch, made, x):
    monkeypatch.setattr(ensembles_module, "_batched_layers", lambda model: None)
    return Ensemble(made, "cpu")(x)


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n != "vmap"])
def test_batched_products_vmap_and_the_models_agree(monkeypatch, name):
    made = models(ARCHITECTURES[name])
    x = gaussian(R, 11, D, seed=2)
    batched = Ensemble(made, "cpu")(x)
    one_by_one = torch.stack([m(v) for m, v in zip(made, x, strict=True)])
    torch.testing.assert_close(batched, one_by_one, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        outputs_by_vmap(monkeypatch, made, x), batched, rtol=1e-12, atol=1e-12
    )


def test_a_part_of_the_ensemble():
    made = models()
    x = gaussian(2, 11, D, seed=2)
    part = Ensemble(made, "cpu")(x, slice(1, 3))
    torch.testing.assert_close(part[1], made[2](x[1]))


@pytest.mark.parametrize("architecture", [sequential, Residual])
def test_a_network_that_diverges_leaves_the_others_alone(architecture):
    rates = np.array([0.1, 1e300, 0.1, 0.2, 0.3])
    wild, calm = models(architecture), models(architecture)
    options = {"batch_size": 10, "epochs": 4, "rng": SEEDS, "device": "cpu", "validation": DATA}
    found = train_ensemble(wild, cross_entropy, DATA, lr=rates, **options)
    rates[1] = 0.1
    expected = train_ensemble(calm, cross_entropy, DATA, lr=rates, **options)
    assert not found.losses[-1, 1] < 1e200  # NaN, infinity or nearly
    assert not found.validation_losses[1] < 1e200
    for r in (0, 2, 3, 4):
        assert torch.equal(flat(wild[r]), flat(calm[r]))
        np.testing.assert_array_equal(found.losses[:, r], expected.losses[:, r])
        assert found.validation_losses[r] == expected.validation_losses[r]


def test_evaluation_is_that_of_one():
    made = models()
    losses, accuracies = evaluate_ensemble(Ensemble(made, "cpu"), cross_entropy, DATA)
    for r, model in enumerate(made):
        alone = evaluate(model, cross_entropy, DATA)
        assert losses[r] == pytest.approx(alone.loss, rel=1e-12)
        assert accuracies[r] == alone.accuracy


def test_evaluation_counts_every_example_once(monkeypatch):
    big = tuple(t.repeat(1000, *[1] * (t.ndim - 1)) for t in DATA)  # more than one piece
    ensemble = Ensemble(models(), "cpu")
    several, one = (evaluate_ensemble(ensemble, cross_entropy, d) for d in (big, DATA))
    np.testing.assert_allclose(several, one, rtol=1e-12)


def test_no_accuracy_without_labels():
    def squares(outputs, y):
        return (outputs[:, 0] - y) ** 2

    found = train_ensemble(
        models(), squares, (X, X[:, 0]), batch_size=10, epochs=1, lr=0.01, validation=(X, X[:, 0]),
        device="cpu",
    )  # fmt: skip
    assert found.validation_accuracies is None
    assert found.validation_losses.shape == (R,)


def test_dropout_is_on_in_training_and_off_in_evaluation():
    def dropping():
        return nn.Sequential(nn.Linear(D, 50), nn.Dropout(0.5), nn.Linear(50, CLASSES))

    made = [m.eval() for m in models(dropping)]
    ensemble = Ensemble(made, "cpu")
    first = evaluate_ensemble(ensemble, cross_entropy, DATA)[0]
    assert (first == evaluate_ensemble(ensemble, cross_entropy, DATA)[0]).all()
    assert not made[0].training
    still = train_ensemble(
        made, cross_entropy, DATA, batch_size=N, epochs=2, lr=0.0, device="cpu"
    ).losses
    assert (still[0] != still[1]).all()  # other units dropped each time


def test_one_seed_gives_each_network_its_own_batches():
    same = [copy.deepcopy(m) for m in models(count=1) * 2]
    options = {"batch_size": 10, "epochs": 1, "lr": 0.2, "device": "cpu"}
    train_ensemble(same, cross_entropy, DATA, rng=0, **options)
    assert not torch.equal(flat(same[0]), flat(same[1]))
    again = [copy.deepcopy(m) for m in models(count=1) * 2]
    train_ensemble(again, cross_entropy, DATA, rng=0, **options)
    for first, second in zip(same, again, strict=True):
        assert torch.equal(flat(first), flat(second))


def activation_differs():
    return [nn.Sequential(nn.Linear(D, 4), a) for a in (nn.ReLU(), nn.Tanh())]


ONE = nn.Linear(D, CLASSES)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"models": []}, ValueError, "models: expected at least one"),
        (
            {"models": [nn.Linear(D, 4), nn.Linear(D, 5)]},
            ValueError,
            "models[1]: expected the arch",
        ),
        ({"models": activation_differs()}, ValueError, "models[1]: expected the architecture"),
        ({"models": [ONE, ONE]}, ValueError, "models: expected different objects"),
        ({"models": [nn.BatchNorm1d(D)]}, ValueError, "no buffers, got 'running_mean'"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"batch_size": N + 1}, ValueError, f"batch_size={N + 1}: expected an int in 1..{N}"),
        ({"batch_size": lambda progress: 8}, TypeError, "batch_size="),
        ({"epochs": 0}, ValueError, "epochs=0"),
        ({"lr": -0.1}, ValueError, "lr=-0.1"),
        ({"lr": [0.1, 0.2, 0.3]}, ValueError, "lr: expected a number or 2 of them"),
        ({"momentum": 1.0}, ValueError, "momentum=1"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay=-1"),
        ({"rng": [1, 2, 3]}, ValueError, "rng: expected 2 seeds, one per network, got 3"),
        ({"rng": [1, -2]}, ValueError, "rng=-2"),
        ({"sampling": "random"}, ValueError, "sampling='random'"),
        ({"last": "throw"}, ValueError, "last='throw'"),
        ({"data": (X, LABELS + 1)}, ValueError, "data[1]: expected labels in 0..3"),
        ({"data": (X / 0, LABELS)}, ValueError, "data[0]: expected finite numbers"),
        ({"loss": lambda o, y: cross_entropy(o, y).mean()}, ValueError, "one loss per example"),
        ({"device": "cuda:99"}, ValueError, "device='cuda:99'"),
    ],
)
def test_bad_input_is_named(change, error, words):
    arguments = {
        "models": models(lambda: nn.Linear(D, CLASSES), count=2),
        "loss": cross_entropy,
        "data": DATA,
        "batch_size": 10,
        "epochs": 1,
        "lr": 0.1,
        "device": "cpu",
    } | change
    before = [flat(m).clone() for m in arguments["models"]]
    with pytest.raises(error) as caught:
        train_ensemble(**arguments)
    assert words in str(caught.value)
    for model, was in zip(arguments["models"], before, strict=True):
        assert torch.equal(flat(model), was)
