"""Model, loss and data fit together, or one sentence says what does not."""

import copy
import dataclasses
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgdlib.deep import accumulate_gradients, evaluate, train
from sgdlib.deep._fit import check_fit
from sgdlib.deep._labels import certain_classes
from sgdlib.deep.curvature import hessian_eigenvalues
from sgdlib.deep.ensembles import train_ensemble
from sgdlib.deep.lr_range import lr_range_test

N, D, CLASSES = 64, 3, 4


def gaussian(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


X = gaussian(N, D)
Y = X[:, 0].clone()
LABELS = torch.arange(N) % CLASSES


def net(outputs=1):
    model = nn.Linear(D, outputs)
    for i, p in enumerate(model.parameters()):
        p.data = gaussian(*p.shape, seed=i + 1)
    return model


def squares(outputs, y):
    return (outputs[:, 0] - y) ** 2


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


EVERYWHERE = {
    "train": lambda m, loss, d: train(m, loss, d, batch_size=8, epochs=2, lr=0.1, device="cpu"),
    "evaluate": evaluate,
    "range test": lambda m, loss, d: lr_range_test(m, loss, d, batch_size=8, steps=20, rng=0),
    "ensemble": lambda m, loss, d: train_ensemble(
        [m, copy.deepcopy(m)], loss, d, batch_size=8, epochs=2, lr=0.1, device="cpu"
    ),
    "curvature": lambda m, loss, d: hessian_eigenvalues(m, loss, d, rng=0),
}
TRAINING = ("train", "range test", "ensemble")
everywhere = pytest.mark.parametrize("place", EVERYWHERE)
in_training = pytest.mark.parametrize("place", TRAINING)


def refused(place, model, loss, data, *words):
    """The call fails in one sentence that holds `words`, and the model is as it was."""
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises((ValueError, TypeError)) as caught:
        EVERYWHERE[place](model, loss, data)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


# -- what is certainly a classifier --

eye = torch.eye(CLASSES)


def nll(outputs, labels):
    return F.nll_loss(outputs, labels, reduction="none")


def smooth(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none", label_smoothing=0.1)


def weighted(outputs, labels):
    weight = torch.tensor([1.0, 5.0, 0.2, 1.0])
    return F.cross_entropy(outputs, labels, reduction="none", weight=weight)


def hinge(outputs, labels):
    return F.multi_margin_loss(outputs, labels, reduction="none")


def brier(outputs, labels):
    return ((outputs.softmax(1) - eye[labels]) ** 2).sum(1)


def brier_of_probabilities(outputs, labels):
    return ((outputs - eye[labels]) ** 2).sum(1)


def zero_one(outputs, labels):
    return (outputs.argmax(1) != labels).double()


def focal(outputs, labels):
    p = outputs.softmax(1).gather(1, labels[:, None])[:, 0]
    return -((1 - p) ** 2) * p.log()


def one_against_rest(outputs, labels):
    targets = eye[labels].to(outputs.dtype)
    return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(1)


def rest_of_probabilities(outputs, labels):
    return F.binary_cross_entropy(outputs, eye[labels], reduction="none").sum(1)


def rest_by_hand(outputs, labels):
    t = eye[labels]
    return -(t * outputs.log() + (1 - t) * (1 - outputs).log()).sum(1)


CLASSIFIERS = [
    cross_entropy, nll, smooth, weighted, hinge, brier, brier_of_probabilities, zero_one, focal,
    one_against_rest, rest_of_probabilities, rest_by_hand,
]  # fmt: skip


@pytest.mark.parametrize("loss", CLASSIFIERS)
def test_a_classifiers_loss_shows_itself(loss):
    assert certain_classes(loss, torch.zeros(2, CLASSES), [LABELS[:2]]) == CLASSES


@pytest.mark.parametrize("count", [2, 24, 25, 1000, 30_000])
def test_any_number_of_classes(count):
    assert certain_classes(cross_entropy, torch.zeros(2, count), [LABELS[:2]]) == count


def first_of_two(outputs, y):
    return (outputs[:, 0] - y) ** 2


def last_of_two(outputs, y):
    return (outputs[:, -1] - y) ** 2


def gaussian_nll(outputs, y):
    return outputs[:, 1] + (outputs[:, 0] - y) ** 2 / outputs[:, 1].exp()


def poisson(outputs, y):
    return outputs[:, 0].exp() - y * outputs[:, 0]


def one_logit_of_two(outputs, y):
    return F.binary_cross_entropy_with_logits(outputs[:, 1], y.float(), reduction="none")


def quantiles(outputs, y):
    levels = torch.linspace(0.1, 0.9, outputs.shape[1])
    over = y[:, None] - outputs
    return torch.maximum(levels * over, (levels - 1) * over).sum(1)


def constant(outputs, y):
    return torch.zeros(len(y))


def broken(outputs, y):
    raise KeyError("nothing of the kind")


REGRESSIONS = [
    first_of_two, last_of_two, gaussian_nll, poisson, one_logit_of_two, quantiles, constant, broken,
]  # fmt: skip


@pytest.mark.parametrize("loss", REGRESSIONS)
@pytest.mark.parametrize("count", [2, 3])
def test_a_regression_on_whole_numbers_is_not_taken_for_one(loss, count):
    assert certain_classes(loss, torch.zeros(2, count), [LABELS[:2]]) is None


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.zeros(2, 1), [LABELS[:2]]),
        (torch.zeros(2), [LABELS[:2]]),
        (torch.zeros(2, CLASSES, 5), [LABELS[:10].view(2, 5)]),
        (torch.zeros(2, CLASSES), [LABELS[:2].float()]),
        (torch.zeros(2, CLASSES), [LABELS[:2] > 0]),
        (torch.zeros(2, CLASSES), [LABELS[:2], Y[:2]]),
        ({"logits": torch.zeros(2, CLASSES)}, [LABELS[:2]]),
    ],
)
def test_other_shapes_and_types_are_not_certain(outputs, targets):
    assert certain_classes(cross_entropy, outputs, targets) is None


@everywhere
def test_whole_numbers_may_be_counts(place):
    counts = torch.randint(0, 9, (N,), generator=torch.Generator().manual_seed(0))
    for outputs in (1, 2):
        EVERYWHERE[place](net(outputs), squares, (X, counts))


@everywhere
def test_labels_out_of_range_are_found_before_any_work(place):
    if place == "curvature":
        pytest.skip("no labels are looked at there")
    for wrong, got in [(CLASSES, "got 4"), (-1, "got -1")]:
        labels = LABELS.clone()
        labels[11] = wrong
        refused(place, net(CLASSES), cross_entropy, (X, labels), "labels in 0..3", got, "index 11")


@pytest.mark.parametrize("place", ["train", "evaluate", "range test", "ensemble"])
def test_labels_that_the_loss_leaves_out_are_taken(place):
    labels = LABELS.clone()
    labels[5:9] = -100
    EVERYWHERE[place](net(CLASSES), cross_entropy, (X, labels))
    assert evaluate(net(CLASSES), cross_entropy, (X, labels)).accuracy is None  # of whom?

    def left_out_otherwise(outputs, labels):
        return F.cross_entropy(outputs, labels, reduction="none", ignore_index=7)

    refused(place, net(CLASSES), left_out_otherwise, (X, labels), "got -100 at index 5")


def test_the_random_state_is_left_alone():
    def noisy(outputs, y):
        return squares(outputs, y) + torch.rand(len(y))

    model = nn.Sequential(nn.Dropout(0.5), net())
    before = torch.get_rng_state()
    check_fit("data", model, noisy, (X, Y), train=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_trial_leaves_no_trace_in_buffers():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = net(CLASSES)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.body(x)

    model = Counting()
    calls = model.calls
    evaluate(model, cross_entropy, (X, LABELS), batch_size=16)
    assert model.calls is calls
    assert calls == 4


# -- losses that mix examples --


def columns_against_rows(outputs, y):
    return ((outputs - y) ** 2).mean(1)


def all_pairs(outputs, y):
    return (outputs - y) ** 2


def over_the_batch(outputs, y):
    return squares(outputs, y) / len(y)


def centred(outputs, y):
    return (outputs[:, 0] - outputs[:, 0].mean() - y) ** 2


def contrastive(outputs, y):
    scores = outputs @ outputs.T
    return F.cross_entropy(scores, torch.arange(len(outputs)), reduction="none")


def ranked(outputs, y):
    return squares(outputs, y).sort().values


@pytest.mark.filterwarnings("ignore:Using a target size")
@everywhere
@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (columns_against_rows, "outputs[:, 0] or targets[:, None]"),
        (all_pairs, "outputs[:, 0] or targets[:, None]"),
        (lambda o, y: F.mse_loss(o, y, reduction="none"), "outputs[:, 0]"),
        (over_the_batch, "nothing in it may be taken over the batch"),
        (centred, "nothing in it may be taken over the batch"),
        (contrastive, "nothing in it may be taken over the batch"),
        (ranked, "the same for an example alone and with others"),
        (nn.MSELoss(), "reduction='none'"),
        (lambda o, y: (o - y[:, None]) ** 2, "sum or average over the other dimensions"),
        (lambda o, y: squares(o, y).tolist(), "got list"),
        (lambda o, y: squares(o, y).mean().item(), "got float"),
        (lambda o, y: squares(o, y) + 0j, "expected real numbers, got torch.complex64"),
    ],
)
def test_a_loss_that_is_not_per_example(place, loss, words):
    refused(place, net(), loss, (X, Y), "loss: expected", words)
    if "outputs[:, 0]" in words:
        refused(place, net(), loss, (X, Y), "(3, 1) against targets (3,)")


def test_rows_against_columns():
    model = nn.Sequential(net(), nn.Flatten(0))
    refused("evaluate", model, columns_against_rows, (X, Y[:, None]), "take targets[:, 0]")


def test_mixing_is_seen_where_the_first_targets_are_equal_and_outputs_are_zero():
    y = torch.cat([torch.ones(N - 1), -torch.ones(1)])  # only the last one differs
    model = net()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)  # (0 - 1)^2 is (0 + 1)^2
    refused("train", model, columns_against_rows, (X, y), "make all pairs")


@pytest.mark.parametrize(
    "loss",
    [
        lambda o, y: squares(o, y) * torch.nan,
        lambda o, y: squares(o, y) + torch.inf,
        lambda o, y: o[:, 0].abs().log() * 0 / 0,
        lambda o, y: squares(o, y) + torch.rand(len(y)),  # random: it cannot be told
        lambda o, y: squares(o, y) * torch.rand(1),
    ],
)
def test_nan_and_chance_are_not_taken_for_mixing(loss):
    assert not check_fit("data", net(), loss, (X, Y), train=True)


def picky(outputs, y):
    """Outputs have to be as the model gives them."""
    assert (outputs[:, 0] >= 1).all()
    return squares(outputs, y)


def test_a_loss_that_refuses_other_outputs_is_tried_on_the_models_own():
    class Above(nn.Module):
        def forward(self, x):
            return 1 + x.abs()[:, :1] * 0

    assert not check_fit("data", Above(), picky, (X, Y))

    def mixing(outputs, y):
        return picky(outputs, y) / len(y)

    with pytest.raises(ValueError, match="taken over the batch"):
        check_fit("data", Above(), mixing, (X, Y))


def test_one_example_is_enough():
    assert evaluate(net(), squares, (X[:1], Y[:1])).n == 1
    with pytest.raises(ValueError, match=r"shape \(1,\), got \(\)"):
        evaluate(net(), nn.MSELoss(), (X[:1], Y[:1, None]))


# -- what a model returns is between it and the loss --


class Pair(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        out = self.layer(x)
        return self.wrap(out)

    def wrap(self, out):
        return out, {"square": out**2, "name": "square", "shape": (len(out), [out.sum(1)])}


class Recurrent(nn.Module):
    """The state of two layers comes with the layers first, then the batch."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(1, 2, num_layers=2, batch_first=True)
        self.head = nn.Linear(2, 1)

    def forward(self, x):
        out, (h, c) = self.rnn(x[:, :, None])
        return {"last": self.head(out[:, -1]), "state": (h, c)}


def of_pair(outputs, y):
    first, rest = outputs
    assert rest["name"] == "square"
    return (first[:, 0] - y) ** 2 + 0.1 * rest["square"].mean(1) + 0 * rest["shape"][1][0]


def of_state(outputs, y):
    return (outputs["last"][:, 0] - y) ** 2 + outputs["state"][0][-1].mean(1)


@everywhere
@pytest.mark.parametrize(("make", "loss"), [(lambda: Pair(net()), of_pair), (Recurrent, of_state)])
def test_nested_outputs(place, make, loss):
    if place == "ensemble" and make is Recurrent:
        pytest.skip("torch cannot run a recurrent layer under vmap")
    EVERYWHERE[place](make(), loss, (X, Y))


def test_nested_outputs_are_evaluated_and_trained_on_like_plain_ones():
    plain, pair = net(), Pair(net())

    def of_plain(outputs, y):
        return (outputs[:, 0] - y) ** 2 + 0.1 * (outputs**2).mean(1)

    options = {"batch_size": 8, "epochs": 2, "lr": 0.1, "rng": 0, "device": "cpu"}
    train(plain, of_plain, (X, Y), **options)
    train(pair, of_pair, (X, Y), **options)
    torch.testing.assert_close(pair.layer.weight, plain.weight)
    ours, theirs = evaluate(pair, of_pair, (X, Y)), evaluate(plain, of_plain, (X, Y))
    assert ours.loss == pytest.approx(theirs.loss)


@dataclasses.dataclass
class Answer:
    value: torch.Tensor
    more: tuple


class InDataclass(Pair):
    def wrap(self, out):
        return Answer(out, (out**2, "square"))


class InObject(Pair):
    def wrap(self, out):
        # torch.func.vmap cannot run its checks of values in every version
        return torch.distributions.Normal(out[:, 0], 1.0, validate_args=False)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_outputs_in_objects_of_the_users_own(precision):
    def of_answer(answer, y):
        assert answer.value.dtype == answer.more[0].dtype == torch.float32
        return (answer.value[:, 0] - y) ** 2

    def of_distribution(distribution, y):
        return -distribution.log_prob(y)

    options = {"batch_size": 8, "epochs": 2, "lr": 0.05, "rng": 0, "device": "cpu"}
    for make, loss in ((InDataclass, of_answer), (InObject, of_distribution)):
        model = make(net())
        before = evaluate(model, loss, (X, Y), precision=precision).loss
        train(model, loss, (X, Y), precision=precision, **options)
        assert evaluate(model, loss, (X, Y), precision=precision).loss < before
        with pytest.raises(ValueError, match=r"outputs in a (Answer|Normal), not in tuples"):
            train_ensemble([make(net()), make(net())], loss, (X, Y), **options)


def test_nested_outputs_in_bf16_are_given_in_float32():
    seen = []

    def watch(outputs, y):
        first, rest = outputs
        seen.append({first.dtype, rest["square"].dtype, rest["shape"][1][0].dtype})
        return of_pair(outputs, y)

    accumulate_gradients(Pair(net()), watch, (X, Y), precision="bf16", micro_batch_size=20)
    evaluate(Pair(net()), watch, (X, Y), precision="bf16")
    assert all(s == {torch.float32} for s in seen)


def test_mixing_is_seen_in_nested_outputs():
    def mixing(outputs, y):
        return of_pair(outputs, y) - outputs[1]["square"].mean()

    def of_layers(outputs, y):
        return of_state(outputs, y) + outputs["state"][1].mean()

    refused("evaluate", Pair(net()), mixing, (X, Y), "taken over the batch")
    refused("evaluate", Recurrent(), of_layers, (X, Y), "taken over the batch")


# -- torch's words in one sentence --


@everywhere
@pytest.mark.parametrize(
    ("model", "loss", "data", "words"),
    [
        (net(), squares, (X.double(), Y), "data[0]: expected torch.float32, as the model's"),
        (net().double(), squares, (X, Y), "data[0]: expected torch.float64"),
        (net(), squares, (X.to(torch.complex64), Y), "data[0]: expected torch.float32"),
        (net(), squares, (X.half(), Y), "got torch.float16"),
        (net(4), cross_entropy, (X, LABELS.int()), "data[1]: expected labels in torch.int64"),
        (net(4), cross_entropy, (X, LABELS.short()), "got torch.int16"),
        (net(4), cross_entropy, (X, LABELS[:, None]), "data[1]: expected labels of shape (B,)"),
        (net(), squares, (X.to_sparse(), Y), "data[0]: expected a dense tensor"),
        (net(), squares, (X, Y.to_sparse()), "data[1]: expected a dense tensor"),
        (net(), squares, (X.numpy(), Y), "data[0]: expected a torch.Tensor, got ndarray"),
        (net(), squares, (X, Y.numpy()), "torch.as_tensor makes one"),
        (net(), squares, (X.tolist(), Y), "data[0]: expected a torch.Tensor, got list"),
        (net(), squares, (X.clone().requires_grad_(), Y), "data[0]: expected plain numbers"),
        (net(), squares, (X, net()(X)[:, 0]), "data[1]: expected plain numbers"),
        (net(), squares, (X.to("meta"), Y), "data[0]: expected numbers, got a tensor on"),
        (net(), squares, X, "missing 1 required positional argument: 'y'"),
        (net(), squares, {"x": X, "y": Y}, "data: expected inputs and targets"),
        (net(), squares, (X[:, :2], Y), "got (3, 2) of torch.float32 and (3,)"),
        (net(), squares, (X[0], Y), "data: expected equal numbers of rows"),
        (net(), lambda o: o[:, 0], (X, Y), "takes 1 positional argument but 2 were given"),
        (net(), "mse", (X, Y), "loss='mse': expected a function"),
        (net(4), nn.CrossEntropyLoss, (X, LABELS), "loss=CrossEntropyLoss: expected a fun"),
        ("net", squares, (X, Y), "expected a torch.nn.Module, got str"),
        (nn.Linear, squares, (X, Y), "expected a torch.nn.Module, got Linear"),
    ],
)
def test_in_one_sentence(place, model, loss, data, words):
    if isinstance(model, nn.Module):
        refused(place, model, loss, data, words)
    else:
        with pytest.raises(TypeError) as caught:
            EVERYWHERE[place](model, loss, data)
        assert words in str(caught.value)


@everywhere
def test_labels_in_bytes_are_labels(place):
    EVERYWHERE[place](net(CLASSES), cross_entropy, (X, LABELS.to(torch.uint8)))


def frozen():
    return net().requires_grad_(False)


@pytest.mark.parametrize("place", [*TRAINING, "curvature"])
@pytest.mark.parametrize("make", [nn.Identity, frozen, lambda: nn.Flatten()])
def test_a_model_with_nothing_to_train(place, make):
    refused(place, make(), squares, (X, Y), "expected parameters that ask for a gradient, got none")


@in_training
@pytest.mark.parametrize(
    "loss",
    [
        lambda o, y: squares(o.detach(), y),
        lambda o, y: (o[:, 0].round().long() != y.long()).float(),
        lambda o, y: torch.as_tensor(squares(o, y).detach().numpy()),
        torch.no_grad()(squares),
    ],
)
def test_a_loss_that_cannot_be_differentiated(place, loss):
    refused(place, net(), loss, (X, Y), "loss: expected losses that depend on the model's")


@in_training
def test_lazy_layers(place):
    if place == "ensemble":
        refused_lazy = [nn.LazyLinear(1), nn.LazyLinear(1)]
        with pytest.raises(ValueError, match="a lazy layer's 'weight'; call the model"):
            train_ensemble(refused_lazy, squares, (X, Y), batch_size=8, epochs=1, lr=0.1)
        return
    state = torch.get_rng_state()
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Tanh(), nn.LazyLinear(1))
    EVERYWHERE[place](model, squares, (X, Y))
    assert model[0].weight.shape == (4, D)
    assert torch.equal(torch.get_rng_state(), state)


def test_lazy_layers_have_no_curvature_yet():
    with pytest.raises(ValueError, match="a lazy layer's 'weight'; call the model"):
        hessian_eigenvalues(nn.LazyLinear(1), squares, (X, Y))


@everywhere
def test_no_warning_comes_up(place):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EVERYWHERE[place](net(CLASSES), cross_entropy, (X, LABELS))
        EVERYWHERE[place](net(), squares, (X, Y))


@everywhere
def test_errors_of_the_users_own_come_through(place):
    def mine(outputs, y):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        EVERYWHERE[place](net(), mine, (X, Y))
