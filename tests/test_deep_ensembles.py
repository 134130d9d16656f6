"""Networks trained at once end where each would have ended alone."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgdlib.deep import _stacked as stacked_module
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
    monkeypatch.setattr(stacked_module, "_batched_layers", lambda model: None)
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
    assert not found.validation_losses[-1, 1] < 1e200
    for r in (0, 2, 3, 4):
        assert torch.equal(flat(wild[r]), flat(calm[r]))
        np.testing.assert_array_equal(found.losses[:, r], expected.losses[:, r])
        np.testing.assert_array_equal(
            found.validation_losses[:, r], expected.validation_losses[:, r]
        )


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
    assert found.validation_losses.shape == (1, R)


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


def test_validation_after_each_epoch_is_that_of_one():
    held_out = (gaussian(40, D, seed=5), torch.arange(40) % CLASSES)
    together, alone = models(), models()
    options = {"batch_size": 10, "epochs": 3, "lr": 0.2, "device": "cpu", "validation": held_out}
    found = train_ensemble(together, cross_entropy, DATA, rng=SEEDS, **options)
    assert found.validation_losses.shape == found.validation_accuracies.shape == (3, R)
    for r, model in enumerate(alone):
        history = train(model, cross_entropy, DATA, rng=SEEDS[r], **options)
        np.testing.assert_allclose(
            found.validation_losses[:, r], history.validation_losses, rtol=1e-9
        )
        np.testing.assert_array_equal(
            found.validation_accuracies[:, r], history.validation_accuracies
        )


@pytest.mark.parametrize("architecture", [sequential, Residual])
def test_metrics_by_name(architecture):
    metrics = {
        "margin": lambda o, y: o.max(1).values - o.gather(1, y[:, None])[:, 0],
        "zero": lambda o, y: o.argmax(1) == 0,
    }
    made = models(architecture)
    found = train_ensemble(
        made, cross_entropy, DATA, batch_size=10, epochs=2, lr=0.1, validation=DATA,
        metrics=metrics, device="cpu",
    )  # fmt: skip
    assert found.validation_accuracies is None
    assert list(found.validation_metrics) == ["margin", "zero"]
    for r, model in enumerate(made):
        alone = evaluate(model, cross_entropy, DATA, metrics=metrics).metrics
        for name, values in found.validation_metrics.items():
            assert values[-1, r] == pytest.approx(alone[name], rel=1e-9)


def test_no_validation_nothing_measured():
    found = train_ensemble(
        models(), cross_entropy, DATA, batch_size=10, epochs=1, lr=0.1, device="cpu"
    )
    assert found.validation_losses is None
    assert found.validation_accuracies is None
    assert found.validation_metrics == {}


class Nested(Residual):
    """Returns more than a tensor, and one of its tensors does not begin with the batch."""

    def forward(self, x):
        out = super().forward(x)
        return {"logits": out, "rows": (out.T, "transposed"), "nothing": None}


def of_nested(outputs, labels):
    assert outputs["rows"][1] == "transposed"
    return cross_entropy(outputs["logits"], labels) + 0.1 * outputs["rows"][0][0] ** 2


def test_nested_outputs_end_where_they_would_have_ended_alone():
    together, alone = models(Nested), models(Nested)
    options = {"batch_size": 10, "epochs": 2, "lr": 0.1, "device": "cpu", "validation": DATA}
    found = train_ensemble(together, of_nested, DATA, rng=SEEDS, **options)
    for r, model in enumerate(alone):
        history = train(model, of_nested, DATA, rng=SEEDS[r], **options)
        torch.testing.assert_close(flat(together[r]), flat(model), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            found.validation_losses[:, r], history.validation_losses, rtol=1e-9
        )


@pytest.mark.parametrize("architecture", [sequential, Residual])
@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.05)])
def test_frozen_layers_stay_frozen(architecture, momentum, weight_decay):
    def half_frozen():
        model = architecture()
        next(model.children()).requires_grad_(False)
        return model

    together, alone = models(half_frozen), models(half_frozen)
    options = {"batch_size": 10, "epochs": 2, "device": "cpu"}
    train_ensemble(
        together, cross_entropy, DATA, rng=SEEDS, lr=0.1, momentum=momentum,
        weight_decay=weight_decay, **options,
    )  # fmt: skip
    for r, model in enumerate(alone):
        before = next(model.children()).weight.clone()
        sgd = torch.optim.SGD(model.parameters(), 0.1, momentum=momentum, weight_decay=weight_decay)
        train(model, cross_entropy, DATA, optimizer=sgd, rng=SEEDS[r], **options)
        torch.testing.assert_close(flat(together[r]), flat(model), rtol=1e-9, atol=1e-12)
        assert torch.equal(next(together[r].children()).weight, before)
        assert not next(together[r].children()).weight.requires_grad


def test_a_parameter_that_the_loss_does_not_use_stays():
    class Idle(Residual):
        def __init__(self):
            super().__init__()
            self.idle = nn.Linear(2, 2)

    together, alone = models(Idle), models(Idle)
    options = {"batch_size": 10, "epochs": 2, "lr": 0.1, "device": "cpu"}
    train_ensemble(together, cross_entropy, DATA, rng=SEEDS, weight_decay=0.1, **options)
    for ours, before in zip(together, alone, strict=True):
        assert torch.equal(ours.idle.weight, before.idle.weight)
        assert not torch.equal(ours.last.weight, before.last.weight)


def modes(made):
    return [[m.training for m in model.modules()] for model in made]


def test_modes_stay_as_the_caller_set_them():
    def dropping():
        return nn.Sequential(nn.Linear(D, 50), nn.Dropout(0.5), nn.Linear(50, CLASSES))

    made = models(dropping)
    made[1].eval()
    made[2][0].eval()
    before = modes(made)
    options = {"batch_size": N, "epochs": 2, "device": "cpu", "validation": DATA}
    train_ensemble(made, cross_entropy, DATA, lr=0.0, **options)
    assert modes(made) == before
    made = models(dropping)
    for model in made:
        model[1].eval()  # no dropout in training either
    found = train_ensemble(made, cross_entropy, DATA, lr=0.0, **options)
    np.testing.assert_allclose(found.losses, found.validation_losses, rtol=1e-12)
    calls = []

    def breaks(outputs, labels):
        calls.append(1)
        if len(calls) == 15:
            raise KeyError
        return cross_entropy(outputs, labels)

    with pytest.raises(KeyError):
        train_ensemble(made, breaks, DATA, lr=0.1, **options)
    assert modes(made) == [[True, True, False, True]] * R


def test_a_seed_makes_the_run_and_global_state_is_left_alone():
    def dropping():
        return nn.Sequential(nn.Linear(D, 50), nn.Dropout(0.5), nn.Linear(50, CLASSES))

    runs = []
    options = {"batch_size": 10, "epochs": 2, "lr": 0.1, "rng": SEEDS, "device": "cpu"}
    for noise in range(2):
        made = models(dropping)
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        runs.append(train_ensemble(made, cross_entropy, DATA, validation=DATA, **options).losses)
        assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize("architecture", [sequential, Residual])
def test_within_a_callers_no_grad_it_is_the_same(architecture):
    data, runs = (X.float(), LABELS), []
    for place in (torch.enable_grad(), torch.no_grad(), torch.autocast("cpu")):
        made = models(architecture, dtype=torch.float32)
        with place:
            train_ensemble(
                made, cross_entropy, data, batch_size=10, epochs=2, lr=0.1, rng=0, device="cpu"
            )
        runs.append(torch.stack([flat(m) for m in made]))
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])


def test_a_last_batch_too_small_for_batch_normalisation():
    def normalised():
        norm = nn.BatchNorm1d(7, track_running_stats=False)
        return nn.Sequential(nn.Linear(D, 7), norm, nn.Linear(7, CLASSES))

    with pytest.raises(ValueError, match=r"batch_size: .* got one of 1"):
        train_ensemble(
            models(normalised), cross_entropy, DATA, batch_size=41, epochs=1, lr=0.1, device="cpu"
        )


def test_a_frozen_ensemble_can_be_evaluated():
    made = [m.requires_grad_(False) for m in models()]
    losses, _ = evaluate_ensemble(Ensemble(made, "cpu"), cross_entropy, DATA)
    assert losses[0] == pytest.approx(evaluate(made[0], cross_entropy, DATA).loss, rel=1e-12)


def test_a_layer_with_a_hook_runs_it():
    def hooked():
        model = sequential()
        model[1].register_forward_hook(lambda module, args, out: 2 * out)
        return model

    check_alone(hooked)


def test_settings_that_the_printed_form_does_not_show_must_agree():
    made = models(Residual)
    for model in made:
        model.scale = 1.0
    made[3].scale = 2.0
    with pytest.raises(ValueError, match=r"models\[3\]: expected the architecture of models\[0\]"):
        Ensemble(made, "cpu")


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(D, 4, batch_first=True), nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.head(self.rnn(x[:, None])[0][:, -1])


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_layers_that_vmap_cannot_run_are_told():
    made = models(Recurrent, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"expected layers that torch.func.vmap can run.*lstm"):
        train_ensemble(
            made, cross_entropy, (X.float(), LABELS), batch_size=10, epochs=1, lr=0.1, device="cpu"
        )


@pytest.mark.parametrize("x", [torch.zeros(3, 7, D), torch.zeros(R), np.zeros((R, 7, D)), None])
def test_inputs_of_another_shape_are_named(x):
    with pytest.raises(ValueError, match=r"x: expected inputs of shape \(5, B, ...\), got"):
        Ensemble(models(), "cpu")(x)


def test_evaluation_of_something_else_is_named():
    with pytest.raises(TypeError, match="ensemble: expected an Ensemble, got list"):
        evaluate_ensemble(models(), cross_entropy, DATA)
    with pytest.raises(ValueError, match=r"data\[1\]: expected labels in 0..3"):
        evaluate_ensemble(Ensemble(models(), "cpu"), cross_entropy, (X, LABELS + 1))


def mixed(change):
    made = models(lambda: nn.Linear(D, CLASSES), count=2)
    change(made[1])
    return made


def activation_differs():
    return [nn.Sequential(nn.Linear(D, 4), a) for a in (nn.ReLU(), nn.Tanh())]


ONE = nn.Linear(D, CLASSES)
OFF = LABELS.clone()
OFF[11] = CLASSES


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
        (
            {"models": mixed(lambda m: m.float())},
            ValueError,
            "models[1]: expected the types of num",
        ),
        (
            {"models": mixed(lambda m: m.bias.requires_grad_(False))},
            ValueError,
            "models[1]: expected the frozen layers of models[0]",
        ),
        (
            {"models": [nn.Linear(D, 4).requires_grad_(False)]},
            ValueError,
            "models[0]: expected parameters that ask for a gradient",
        ),
        ({"device": 1.5}, TypeError, "device=1.5: expected a device such as"),
        ({"device": []}, TypeError, "device=[]: expected a device such as"),
        ({"epochs": "2"}, TypeError, "epochs='2'"),
        ({"epochs": 10**12}, ValueError, "epochs=1000000000000: expected an int in 1..10000000"),
        ({"lr": lambda progress: -0.5}, ValueError, "lr(0)=-0.5: expected a finite number >= 0"),
        ({"lr": lambda progress: 0.1 - progress / 4}, ValueError, "lr(0.481928)=-0.0204"),
        ({"lr": lambda progress: [0.1, -0.1]}, ValueError, "lr(0)=-0.1"),
        ({"lr": lambda progress: [0.1] * 3}, ValueError, "lr(0): expected a number or 2 of them"),
        ({"lr": lambda progress: float("nan")}, ValueError, "lr(0): expected finite numbers"),
        ({"lr": lambda progress: "fast"}, TypeError, "lr(0)='fast'"),
        ({"lr": lambda progress: None}, TypeError, "lr(0)"),
        ({"lr": float("inf")}, ValueError, "lr: expected finite numbers"),
        ({"lr": True}, TypeError, "lr=True: expected a finite number >= 0"),
        ({"lr": "fast"}, TypeError, "lr='fast'"),
        ({"lr": []}, ValueError, "lr: expected data, got an empty array"),
        ({"momentum": "heavy"}, TypeError, "momentum='heavy'"),
        ({"weight_decay": float("nan")}, ValueError, "weight_decay=nan"),
        ({"rng": "ab"}, TypeError, "rng='ab'"),
        ({"rng": [0.5, 1.5]}, TypeError, "rng=0.5"),
        ({"validation": (X, OFF)}, ValueError, "validation[1]: expected labels in 0..3"),
        ({"validation": (X, LABELS[:5])}, ValueError, "validation: expected equal numbers of rows"),
        ({"validation": (X.float(), LABELS)}, ValueError, "validation[0]: expected torch.float64"),
        ({"validation": (X / 0, LABELS)}, ValueError, "validation[0]: expected finite numbers"),
        ({"validation": (X,)}, TypeError, "validation: expected inputs and targets"),
        ({"metrics": ["accuracy"]}, TypeError, "metrics=['accuracy']: expected a dict"),
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
    modes_before = modes(arguments["models"])
    with pytest.raises(error) as caught:
        train_ensemble(**arguments)
    assert modes(arguments["models"]) == modes_before
    assert words in str(caught.value)
    for model, was in zip(arguments["models"], before, strict=True):
        assert torch.equal(flat(model), was)


def test_in_bf16_each_network_ends_where_it_would_alone():
    data = (X.float(), LABELS)
    options = {"batch_size": 10, "epochs": 2, "lr": 0.1, "device": "cpu"}
    together, alone = (models(dtype=torch.float32) for _ in range(2))
    history = train_ensemble(
        together, cross_entropy, data, precision="bf16", rng=SEEDS, validation=data, **options
    )
    plain = train_ensemble(models(dtype=torch.float32), cross_entropy, data, rng=SEEDS, **options)
    assert not np.array_equal(history.losses, plain.losses)
    np.testing.assert_allclose(history.losses, plain.losses, rtol=0.02)
    for one, two, seed in zip(together, alone, SEEDS, strict=True):
        train(two, cross_entropy, data, precision="bf16", rng=seed, **options)
        torch.testing.assert_close(flat(one), flat(two), rtol=0.02, atol=2e-3)
        assert all(p.dtype == torch.float32 for p in one.parameters())
    with pytest.raises(ValueError, match="precision='half': expected one of"):
        train_ensemble(together, cross_entropy, data, precision="half", rng=SEEDS, **options)
