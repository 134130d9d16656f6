"""What `evaluate` measures, on whom, and that it leaves nothing behind."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgdlib.deep import Evaluation, evaluate, train
from sgdlib.deep.ensembles import Ensemble, evaluate_ensemble, train_ensemble
from sgdlib.deep.evaluation import accuracy

N, D, CLASSES = 83, 6, 4


def gaussian(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


X = gaussian(N, D)
LABELS = (X @ gaussian(D, CLASSES, seed=1)).argmax(1)
BITS = (X[:, 0] > 0).long()


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def logistic(outputs, bits):
    return F.binary_cross_entropy_with_logits(outputs[:, 0], bits.double(), reduction="none")


def linear(outputs, seed=2):
    model = nn.Linear(D, outputs, bias=False).double()
    model.weight.data = gaussian(outputs, D, seed=seed)
    return model


def perfect():
    """Return a classifier with one logit that is always right."""
    model = linear(1)
    model.weight.data = torch.eye(D, dtype=torch.float64)[:1]
    return model


def right(outputs, bits):
    return (outputs[:, 0] > 0) == bits


def test_a_perfect_one_logit_classifier_has_no_guessed_accuracy():
    found = evaluate(perfect(), logistic, (X, BITS))
    assert found.accuracy is None
    assert found.metrics == {}
    asked = evaluate(perfect(), logistic, (X, BITS), metrics={"accuracy": right})
    assert asked.accuracy == 1.0


def test_the_accuracy_of_a_classifier_is_measured_unasked():
    model = linear(CLASSES)
    expected = (model(X).argmax(1) == LABELS).double().mean().item()
    found = evaluate(model, cross_entropy, (X, LABELS), batch_size=10)
    assert found.accuracy == found.metrics["accuracy"] == pytest.approx(expected, rel=1e-12)
    assert 0 < expected < 1
    same = evaluate(model, cross_entropy, (X, LABELS), metrics={"accuracy": accuracy})
    assert same == evaluate(model, cross_entropy, (X, LABELS))


def test_a_regression_on_counts_has_no_accuracy():
    counts = (X[:, 0] * 3).abs().round().long()

    def poisson(outputs, y):
        return outputs[:, 0].exp() - y * outputs[:, 0]

    for outputs in (1, 2, 12):
        found = evaluate(linear(outputs), poisson, (X, counts))
        assert found.accuracy is None
        expected = poisson(linear(outputs)(X), counts).mean().item()
        assert found.loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 10, 1000])
def test_metrics_are_means_over_every_example(batch_size):
    metrics = {
        "absolute": lambda o, y: (o[:, 0] - y).abs(),
        "above": lambda o, y: o[:, 0] > y,
        "count": lambda o, y: torch.ones(len(y), dtype=torch.int64),
    }
    model, y = linear(1), X[:, 0].clone()
    found = evaluate(
        model, lambda o, y: (o[:, 0] - y) ** 2, (X, y), metrics=metrics, batch_size=batch_size
    )
    outputs = model(X)[:, 0]
    assert found.metrics["absolute"] == pytest.approx((outputs - y).abs().mean().item(), rel=1e-12)
    assert found.metrics["above"] == (outputs > y).double().mean().item()
    assert found.metrics["count"] == 1.0
    assert found.accuracy is None  # it was not asked for


def test_metrics_of_nested_outputs_and_several_targets():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = linear(2)

        def forward(self, x):
            out = self.body(x)
            return {"a": out[:, 0], "b": out[:, 1]}

    def loss(outputs, a, b):
        return (outputs["a"] - a) ** 2 + (outputs["b"] - b) ** 2

    data = (X, X[:, 0].clone(), X[:, 1].clone())
    found = evaluate(
        Two(), loss, data, metrics={"b": lambda o, a, b: (o["b"] - b) ** 2}, batch_size=20
    )
    assert 0 < found.metrics["b"] < found.loss


def test_an_evaluation_is_a_value():
    found = evaluate(linear(CLASSES), cross_entropy, (X, LABELS))
    assert found == evaluate(linear(CLASSES), cross_entropy, (X, LABELS))
    assert hash(found) == hash(dataclasses.replace(found))
    assert Evaluation(loss=1.0, stderr=0.1, n=3).accuracy is None


# -- a model that caches tables in its forward --


class Cached(nn.Module):
    """Scales its outputs by a table that it makes when it is first called."""

    def __init__(self):
        super().__init__()
        self.body = linear(CLASSES)
        self.table = None

    def forward(self, x):
        if self.table is None:
            self.table = torch.linspace(0.5, 2, CLASSES, dtype=torch.float64)
        return self.body(x) * self.table


def check_trained_afterwards(place):
    model = Cached()
    place(model)
    options = {"batch_size": 8, "epochs": 1, "lr": 0.1, "rng": 0, "device": "cpu"}
    train(model, cross_entropy, (X, LABELS), **options)
    fresh = Cached()
    train(fresh, cross_entropy, (X, LABELS), **options)
    assert torch.equal(model.body.weight, fresh.body.weight)


PLACES = {
    "evaluate": lambda m: evaluate(m, cross_entropy, (X, LABELS)),
    "ensemble": lambda m: evaluate_ensemble(
        Ensemble([m, Cached()], "cpu"), cross_entropy, (X, LABELS)
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_cached_table_can_be_trained_with_afterwards(place):
    check_trained_afterwards(PLACES[place])


def test_planted_bug_inference_mode():
    def poisoned(model):
        with torch.inference_mode():
            model(X)

    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
        check_trained_afterwards(poisoned)


# -- bad input --


@pytest.mark.parametrize(
    ("metrics", "error", "words"),
    [
        ([right], TypeError, "expected a dict of names and functions"),
        ("accuracy", TypeError, "metrics='accuracy': expected a dict"),
        (right, TypeError, "expected a dict of names and functions"),
        ({"accuracy": "yes"}, TypeError, "metrics['accuracy']='yes': expected a function"),
        ({1: right}, TypeError, "expected names that are strings, got 1"),
        ({"f1": lambda o, y: right(o, y).double().mean()}, ValueError, "shape (3,), got ()"),
        ({"f1": lambda o, y: 0.5}, ValueError, "metrics['f1']: expected one value per example"),
        ({"all": lambda o, y: o}, ValueError, "shape (3,), got (3, 1)"),
        ({"complex": lambda o, y: o[:, 0] + 0j}, TypeError, "expected real numbers"),
    ],
)
def test_bad_metrics_are_named(metrics, error, words):
    model = perfect().train()
    with pytest.raises(error) as caught:
        evaluate(model, logistic, (X, BITS), metrics=metrics)
    assert words in str(caught.value)
    assert model.training


def test_train_measures_them_after_each_epoch():
    seen = []

    def watch(moment):
        if moment.validation is not None:
            seen.append(moment.validation.metrics)

    options = {"batch_size": 8, "epochs": 2, "lr": 0.1, "rng": 0, "device": "cpu"}
    data = {"validation": (X, BITS)}
    model = linear(1)
    plain = train(copy.deepcopy(model), logistic, (X, BITS), **data, **options)
    assert np.isnan(plain.validation_accuracies).all()
    metrics = {"accuracy": right, "logit": lambda o, y: o[:, 0]}
    history = train(model, logistic, (X, BITS), metrics=metrics, hook=watch, **data, **options)
    assert history.validation_accuracies.tolist() == [m["accuracy"] for m in seen]
    assert [set(m) for m in seen] == [{"accuracy", "logit"}] * 2
    assert evaluate(model, logistic, (X, BITS), metrics=metrics).metrics == seen[-1]
    np.testing.assert_array_equal(plain.validation_losses, history.validation_losses)


@pytest.mark.parametrize("together", [False, True])
def test_metrics_are_tried_before_training(together):
    def run(model, **options):
        options |= {"batch_size": 8, "epochs": 2, "lr": 0.1, "device": "cpu"}
        if together:
            return train_ensemble([model], logistic, (X, BITS), **options)
        return train(model, logistic, (X, BITS), **options)

    model = linear(1)
    before = model.weight.clone()
    bad = {"f1": lambda o, y: right(o, y).double().mean()}
    with pytest.raises(ValueError, match=r"metrics\['f1'\]: expected one value per example"):
        run(model, metrics=bad, validation=(X, BITS))
    with pytest.raises(ValueError, match="metrics: expected validation= data"):
        run(model, metrics={"accuracy": right})
    assert torch.equal(model.weight, before)


def test_modes_come_back():
    model = nn.Sequential(nn.Linear(D, 4), nn.BatchNorm1d(4), nn.Linear(4, CLASSES)).double()
    model[1].eval()
    evaluate(model, cross_entropy, (X, LABELS))
    assert [m.training for m in model.modules()] == [True, True, False, True]
    with pytest.raises(ValueError, match="labels in"):
        evaluate(model, cross_entropy, (X, LABELS + 1))
    assert [m.training for m in model.modules()] == [True, True, False, True]
