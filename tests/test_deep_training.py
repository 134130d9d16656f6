"""The training loop: step by step equal to a textbook listing, and clear about what is wrong."""

import copy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sgdlib.deep import IndexBatches, PlainSGD, TensorBatches, evaluate, train
from sgdlib.descent import DivergenceError
from sgdlib.schedules import cosine, grow_batch, warmup

N, D, CLASSES = 83, 6, 4


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


X = gaussian(N, D)
LABELS = (X @ gaussian(D, CLASSES, seed=1)).argmax(1)


def network(*, dtype=torch.float64, dropout=0.0):
    """Return the same small network each time."""
    net = nn.Sequential(nn.Linear(D, 7), nn.ReLU(), nn.Dropout(dropout), nn.Linear(7, CLASSES))
    for i, p in enumerate(net.parameters()):
        p.data = 0.5 * gaussian(*p.shape, seed=10 + i)
    return net.to(dtype)


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def textbook(model, *, epochs, batch_size, optimizer, lr, last="scale", clip=None, seed=0):
    """Train with every sum written out, one example's loss after another; return step losses."""
    recorded = []
    loader = TensorBatches(X, LABELS, batch_size=batch_size, last=last, rng=seed)
    for epoch in range(epochs):
        seen = 0
        for x, y, w in loader:
            for group in optimizer.param_groups:
                group["lr"] = lr(epoch + seen / N) if callable(lr) else lr
            optimizer.zero_grad()
            losses = [F.cross_entropy(model(x[i]), y[i]) for i in range(len(x))]
            total = sum(w[i] * losses[i] for i in range(len(x)))
            total.backward()
            if clip is not None:
                norm = sum((p.grad**2).sum() for p in model.parameters()).sqrt()
                for p in model.parameters():
                    p.grad *= min(1.0, clip / (norm.item() + 1e-6))
            optimizer.step()
            real = [losses[i].item() for i in range(len(x)) if w[i] > 0]
            recorded.append(sum(real) / len(real))
            seen += len(x)
    return np.array(recorded)


# -- equal to the textbook, step by step --

OPTIMIZERS = {
    "plain": lambda p: PlainSGD(p, 0.1),
    "sgd": lambda p: torch.optim.SGD(p, 0.1, foreach=False),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "decay": lambda p: torch.optim.SGD(p, 0.1, momentum=0.5, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, 0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("lr", [0.05, cosine(0.1, length=2.5)], ids=["number", "schedule"])
def test_every_step_is_the_textbooks(name, lr):
    ours, judge = network(), network()
    optimizer = None if name == "plain" else OPTIMIZERS[name](ours.parameters())
    history = train(
        ours, cross_entropy, (X, LABELS), batch_size=8, epochs=3, lr=lr, optimizer=optimizer, rng=0
    )
    expected = textbook(
        judge, epochs=3, batch_size=8, optimizer=OPTIMIZERS[name](judge.parameters()), lr=lr
    )
    np.testing.assert_allclose(history.step_losses, expected, rtol=1e-10)
    torch.testing.assert_close(parameters(ours), parameters(judge), rtol=1e-9, atol=1e-12)


def check_last_batch(last, trained_with):
    """The run with rule `trained_with` is the textbook's with the rule `last`."""
    ours, judge = network(), network()
    options = {"batch_size": 20, "epochs": 2, "lr": 0.3}
    history = train(ours, cross_entropy, (X, LABELS), last=trained_with, rng=0, **options)
    expected = textbook(judge, last=last, optimizer=PlainSGD(judge.parameters(), 0.3), **options)
    np.testing.assert_allclose(history.step_losses, expected, rtol=1e-9)
    torch.testing.assert_close(parameters(ours), parameters(judge), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("last", ["scale", "keep", "drop", "pad", "wrap"])
def test_every_rule_for_the_last_batch(last):
    check_last_batch(last, last)


def test_a_tail_weighted_like_a_full_batch_is_seen():
    with pytest.raises(AssertionError):
        check_last_batch("scale", "keep")


def test_equal_to_torchs_own_loader_and_mean_loss():
    ours, judge = network(dtype=torch.float32), network(dtype=torch.float32)
    data = (X.float(), LABELS)
    train(ours, cross_entropy, data, batch_size=8, epochs=2, lr=0.1, last="keep", rng=3)
    optimizer = torch.optim.SGD(judge.parameters(), 0.1)
    sampler = IndexBatches(N, 8, last="keep", rng=3)
    loader = DataLoader(TensorDataset(*data), batch_sampler=sampler)
    for _ in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(judge(x), y).backward()
            optimizer.step()
    torch.testing.assert_close(parameters(ours), parameters(judge), rtol=1e-5, atol=1e-7)


def check_clipping(clip_like_ours):
    """Compare with accumulation by hand in which `clip_like_ours` places the clipping."""
    ours, judge = network(), network()
    options = {"batch_size": 20, "lr": 0.5, "clip": 0.3, "rng": 1}
    train(ours, cross_entropy, (X, LABELS), epochs=1, micro_batch_size=6, **options)
    optimizer = torch.optim.SGD(judge.parameters(), 0.5)
    for x, y, w in TensorBatches(X, LABELS, batch_size=20, rng=1):
        optimizer.zero_grad()
        for part in range(0, len(x), 6):
            piece = slice(part, part + 6)
            (w[piece] * cross_entropy(judge(x[piece]), y[piece])).sum().backward()
            if not clip_like_ours:
                nn.utils.clip_grad_norm_(judge.parameters(), 0.3)
        if clip_like_ours:
            nn.utils.clip_grad_norm_(judge.parameters(), 0.3)
        optimizer.step()
    torch.testing.assert_close(parameters(ours), parameters(judge), rtol=1e-9, atol=1e-12)


def test_the_whole_gradient_is_clipped_once_after_accumulation():
    check_clipping(True)
    with pytest.raises(AssertionError):
        check_clipping(False)


def test_clipping_is_the_textbooks():
    ours, judge = network(), network()
    train(ours, cross_entropy, (X, LABELS), batch_size=8, epochs=2, lr=0.5, clip=0.2, rng=0)
    optimizer = PlainSGD(judge.parameters(), 0.5)
    textbook(judge, epochs=2, batch_size=8, optimizer=optimizer, lr=0.5, clip=0.2)
    torch.testing.assert_close(parameters(ours), parameters(judge), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("micro", [1, 3, 7, 20])
def test_micro_batches_change_nothing(micro):
    whole, pieces = network(), network()
    options = {"batch_size": 20, "epochs": 2, "lr": warmup(0.3, length=1), "rng": 0}
    train(whole, cross_entropy, (X, LABELS), **options)
    train(pieces, cross_entropy, (X, LABELS), micro_batch_size=micro, **options)
    torch.testing.assert_close(parameters(whole), parameters(pieces), rtol=1e-10, atol=1e-13)


def test_batch_size_schedule():
    schedule = grow_batch(5, factor=2, every=1.0, maximum=20)
    history = train(
        network(), cross_entropy, (X, LABELS), batch_size=schedule, epochs=4, lr=0.1, rng=0
    )
    assert history.batch_sizes.tolist() == [5, 10, 20, 20]
    assert history.steps.tolist() == [17, 26, 31, 36]
    assert history.examples.tolist() == [N, 2 * N, 3 * N, 4 * N]


def test_bf16_is_close_and_keeps_float32_weights():
    full, half = network(dtype=torch.float32), network(dtype=torch.float32)
    options = {"batch_size": 8, "epochs": 3, "lr": 0.1, "rng": 0, "clip": 5.0}
    data = (X.float(), LABELS)
    train(full, cross_entropy, data, **options)
    history = train(half, cross_entropy, data, precision="bf16", micro_batch_size=3, **options)
    assert all(p.dtype == torch.float32 for p in half.parameters())
    assert not torch.equal(parameters(full), parameters(half))
    torch.testing.assert_close(parameters(full), parameters(half), rtol=0.05, atol=0.05)
    assert np.isfinite(history.losses).all()


# -- what is measured on the way --


def test_history_counts_and_averages():
    history = train(
        network(), cross_entropy, (X, LABELS), batch_size=10, epochs=3, lr=cosine(0.1, length=3)
    )
    assert history.epochs.tolist() == [1, 2, 3]
    assert history.steps.tolist() == [9, 18, 27]
    assert history.step_sizes.tolist() == ([10] * 8 + [3]) * 3
    for k in range(3):
        epoch = slice(9 * k, 9 * k + 9)
        mean = np.average(history.step_losses[epoch], weights=history.step_sizes[epoch])
        assert history.losses[k] == pytest.approx(mean, rel=1e-12)
    assert history.lrs[0] == pytest.approx(cosine(0.1, length=3)(80 / N))
    assert np.isnan(history.validation_losses).all()
    assert history.best_epoch is None
    assert (history.seconds > 0).all()


def test_padding_is_not_counted():
    history = train(
        network(), cross_entropy, (X, LABELS), batch_size=10, epochs=1, lr=0.1, last="pad"
    )
    assert history.examples.tolist() == [N]


@pytest.mark.parametrize("batch_size", [1, 7, 83, 1000])
def test_evaluation_counts_every_example_once(batch_size):
    model = network(dropout=0.5).train()
    result = evaluate(model, cross_entropy, (X, LABELS), batch_size=batch_size)
    with torch.no_grad():
        outputs = copy.deepcopy(model).eval()(X)
    losses = torch.stack([F.cross_entropy(outputs[i], LABELS[i]) for i in range(N)])
    assert result.n == N
    assert result.loss == pytest.approx(losses.mean().item(), rel=1e-12)
    assert result.stderr == pytest.approx(losses.std().item() / N**0.5, rel=1e-9)
    assert result.accuracy == (outputs.argmax(1) == LABELS).double().mean().item()
    assert all(module.training for module in model.modules())


def test_mean_of_batch_means_is_not_the_mean():
    """The planted bug: a short last batch that counts like a full one."""
    exact = evaluate(network(), cross_entropy, (X, LABELS)).loss
    means = [
        evaluate(network(), cross_entropy, part).loss
        for part in zip(X.split(80), LABELS.split(80), strict=True)
    ]
    assert abs(np.mean(means) - exact) > 1e-3 * exact


def test_validation_after_each_epoch():
    held_out = (gaussian(40, D, seed=5), torch.arange(40) % CLASSES)
    model = network()
    history = train(
        model, cross_entropy, (X, LABELS), batch_size=8, epochs=2, lr=0.1, validation=held_out
    )
    last = evaluate(model, cross_entropy, held_out)
    assert history.validation_losses[-1] == last.loss
    assert history.validation_accuracies[-1] == last.accuracy
    assert len(history.validation_losses) == 2


def test_regression_has_no_accuracy():
    model, y = nn.Linear(D, 1).double(), X[:, :1] * 2

    def squares(outputs, y):
        return ((outputs - y) ** 2).mean(1)

    history = train(model, squares, (X, y), batch_size=8, epochs=1, lr=0.1, validation=(X, y))
    assert np.isnan(history.validation_accuracies).all()
    assert evaluate(model, squares, (X, y)).accuracy is None


def test_early_stop_goes_back_to_the_best_weights():
    wrong = (X, (LABELS + 1) % CLASSES)  # the better the fit, the worse the validation loss
    model = network()
    history = train(
        model, cross_entropy, (X, LABELS), batch_size=8, epochs=50, lr=0.2, validation=wrong,
        patience=3, rng=0,
    )  # fmt: skip
    assert history.stopped_early
    assert history.best_epoch == int(np.argmin(history.validation_losses)) + 1
    assert len(history.epochs) == history.best_epoch + 3
    best = evaluate(model, cross_entropy, wrong).loss
    assert best == history.validation_losses.min()


# -- randomness --


def test_a_seed_makes_the_run_and_global_state_is_left_alone():
    before = torch.get_rng_state()
    runs = []
    for noise in range(3):
        torch.manual_seed(noise)
        model = network(dropout=0.5)
        at_start = torch.get_rng_state()
        train(model, cross_entropy, (X, LABELS), batch_size=8, epochs=2, lr=0.1, rng=7)
        assert torch.equal(torch.get_rng_state(), at_start)
        runs.append(parameters(model))
    torch.set_rng_state(before)
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_trained_in_training_mode_and_comes_back_as_it_was(mode):
    model, seen = network(dropout=0.5).train(mode), []

    def loss(outputs, y):
        seen.append((len(outputs), torch.is_grad_enabled(), model.training))
        return cross_entropy(outputs, y)

    train(model, loss, (X, LABELS), batch_size=8, epochs=1, lr=0.1, validation=(X, LABELS))
    assert {tuple(mode) for size, *mode in seen if size == 8} == {(True, True)}
    assert {tuple(mode) for size, *mode in seen if size == N} == {(False, False)}
    assert all(module.training is mode for module in model.modules())


# -- when it goes wrong --


def test_divergence_names_the_step_and_gives_the_state_back():
    model = nn.Linear(D, 1).double()
    starts = []

    def squares(outputs, y):
        return (outputs[:, 0] - y) ** 2

    def remember(p):
        starts.append(copy.deepcopy(model.state_dict()) if p == round(p) else None)
        return 100.0

    with pytest.raises(
        DivergenceError, match=r"step \d+, in epoch \d+: the learning rate 100"
    ) as e:
        train(model, squares, (X, X[:, 0]), batch_size=8, epochs=200, lr=remember, rng=0)
    assert e.value.step > 0
    start = [s for s in starts if s is not None][-1]
    assert all(torch.equal(model.state_dict()[k], start[k]) for k in start)
    assert all(torch.equal(e.value.theta[k], start[k]) for k in start)
    assert torch.isfinite(parameters(model)).all()


def test_divergence_step_is_the_first_bad_one():
    calls = []

    def loss(outputs, y):
        calls.append(outputs.requires_grad)  # not so where only the loss itself is looked at
        bad = outputs.requires_grad and sum(calls) == 20  # the first is the trial with few rows
        return cross_entropy(outputs, y) * (float("nan") if bad else 1.0)

    with pytest.raises(DivergenceError) as e:
        train(network(), loss, (X, LABELS), batch_size=8, epochs=5, lr=0.1)
    assert e.value.step == 18


def test_a_last_step_that_overflows_is_noticed():
    model = nn.Linear(D, 1).double()

    def steep(outputs, y):
        return (outputs[:, 0] - y) * 1e200

    with pytest.raises(DivergenceError) as e:
        train(model, steep, (X, X[:, 0]), batch_size=N, epochs=1, lr=1e200)
    assert e.value.step == 1
    assert torch.isfinite(parameters(model)).all()


BAD = X.clone()
BAD[17, 3] = float("nan")
OFF = LABELS.clone()
OFF[11] = CLASSES


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ((BAD, LABELS), {}, ValueError, r"data\[0\]: .*finite numbers, got nan at index \(17, 3\)"),
        ((X, OFF), {}, ValueError, r"data\[1\]: expected labels in 0\.\.3.*got 4 at index 11"),
        ((X, LABELS - 1), {}, ValueError, "got -1 at index"),
        ((X, LABELS[:5]), {}, ValueError, "equal numbers of rows, got 83, 5"),
        ((X[:0], LABELS[:0]), {}, ValueError, "empty"),
        ((X,), {}, TypeError, "inputs and targets"),
        ((X.numpy(), LABELS), {}, TypeError, r"data\[0\].*ndarray"),
        ((X, LABELS), {"batch_size": 100}, ValueError, r"batch_size=100: .* 1\.\.83"),
        ((X, LABELS), {"batch_size": 0}, ValueError, r"batch_size=0: .* 1\.\.83"),
        ((X, LABELS), {"epochs": 0}, ValueError, "epochs=0"),
        ((X, LABELS), {"epochs": 1.5}, TypeError, "epochs=1.5"),
        ((X, LABELS), {"lr": float("nan")}, ValueError, "lr=nan"),
        ((X, LABELS), {"lr": -1.0}, ValueError, "lr=-1.0"),
        ((X, LABELS), {"lr": lambda p: float("inf")}, ValueError, r"lr\(0\)=inf"),
        ((X, LABELS), {"lr": None}, ValueError, "lr=None"),
        ((X, LABELS), {"clip": 0.0}, ValueError, "clip=0.0"),
        ((X, LABELS), {"micro_batch_size": 0}, ValueError, "micro_batch_size=0"),
        ((X, LABELS), {"precision": "fp8"}, ValueError, "precision='fp8'"),
        ((X, LABELS), {"sampling": "any"}, ValueError, "sampling='any'"),
        ((X, LABELS), {"patience": 2}, ValueError, "patience=2: expected validation"),
        ((X, LABELS), {"validation": (X, OFF)}, ValueError, r"validation\[1\]: expected labels"),
        ((X, LABELS), {"checkpoint_every": 5}, ValueError, "checkpoint_every=5"),
        ((X, LABELS), {"checkpoint": "/nowhere/run.pt"}, ValueError, "/nowhere/run.pt"),
        ((X, LABELS), {"device": "gpu"}, ValueError, "device='gpu'"),
        ((X, LABELS), {"rng": "seven"}, TypeError, "rng='seven'"),
    ],
)
def test_bad_input_is_named_before_any_work(data, options, error, message):
    model = network()
    before = parameters(model)
    options = {"batch_size": 8, "epochs": 1, "lr": 0.1} | options
    with pytest.raises(error, match=message):
        train(model, cross_entropy, data, **options)
    assert torch.equal(parameters(model), before)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((X, LABELS[:5]), {}, "equal numbers of rows, got 83, 5"),
        ((BAD, LABELS), {}, "got nan at index"),
        ((X, LABELS), {"batch_size": 0}, "batch_size=0"),
        ((X, LABELS), {"precision": "half"}, "precision='half'"),
    ],
)
def test_bad_input_to_evaluate(data, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(network(), cross_entropy, data, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(ValueError, match="device='cuda': expected a device of this machine"):
        train(network(), cross_entropy, (X, LABELS), batch_size=8, epochs=1, lr=0.1, device="cuda")


def test_a_loss_that_is_already_reduced():
    with pytest.raises(ValueError, match=r"one loss per example.*reduction='none'"):
        train(network(), F.cross_entropy, (X, LABELS), batch_size=8, epochs=1, lr=0.1)


def test_a_batch_that_does_not_fit_into_memory():
    class Huge(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(D, CLASSES).double()

        def forward(self, x):
            if len(x) > 1:
                x.new_empty(len(x), 2**45)
            return self.layer(x)

    with pytest.raises(MemoryError, match="micro_batch_size="):
        train(Huge(), cross_entropy, (X, LABELS), batch_size=8, epochs=1, lr=0.1)


# -- the progress bar --


@pytest.mark.parametrize(("progress", "shown"), [(None, False), (False, False), (True, True)])
def test_progress_bar_is_quiet_where_nobody_looks(progress, shown, capsys):
    train(network(), cross_entropy, (X, LABELS), batch_size=8, epochs=2, lr=0.1, progress=progress)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("examples" in err) == shown
    assert ("166" in err) == shown  # both epochs' examples


def test_someone_looks_in_a_terminal_and_in_an_open_notebook_only(monkeypatch):
    import IPython

    from sgdlib.deep import _progress

    for name in _progress._OPEN_NOTEBOOK:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert _progress.someone_looks()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert not _progress.someone_looks()
    # A kernel that executes a notebook to build or to check it has nobody in front of it.
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    assert not _progress.someone_looks()
    monkeypatch.setenv("JPY_SESSION_NAME", "chapter.ipynb")
    assert _progress.someone_looks()
    # It may inherit the names from an editor; but it is told that nobody answers questions.
    deaf = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=False))
    monkeypatch.setattr(IPython, "get_ipython", lambda: deaf)
    assert not _progress.someone_looks()
    monkeypatch.setattr(deaf.kernel, "_allow_stdin", True)
    assert _progress.someone_looks()
    monkeypatch.setenv("BOOK_BUILD", "1")
    assert not _progress.someone_looks()


@pytest.mark.parametrize("name", ["VSCODE_PID", "COLAB_RELEASE_TAG", "JPY_SESSION_NAME"])
def test_a_program_that_executes_a_notebook_sees_no_bar(name, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    code = "from sgdlib.deep._progress import someone_looks; print(someone_looks())"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook).execute()
    assert notebook.cells[0].outputs[0].text == "False\n"


# -- captured graphs --


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "capture=True: expected a CUDA device, got device='cpu'"),
        ({"capture": 1}, "capture=1"),
        ({"capture": "no"}, "capture='no': expected True or False"),
        ({"capture": False, "progress": "no"}, "progress='no': expected True or False"),
    ],
)
def test_flags_are_flags_and_a_graph_needs_a_gpu(options, message):
    options = {"capture": True, "device": "cpu", "batch_size": 8, "epochs": 1, "lr": 0.1} | options
    with pytest.raises((ValueError, TypeError), match=message):
        train(network(), cross_entropy, (X, LABELS), **options)


def test_a_graph_needs_plain_sgd():
    from sgdlib.deep._inputs import check_capture

    adam = torch.optim.Adam(network().parameters())
    with pytest.raises(ValueError, match=r"capture=True: expected optimizer=None.*got Adam"):
        check_capture(True, torch.device("cuda"), adam)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_callers_autocast_changes_nothing(precision):
    """Autocast keeps cast copies of the weights until it ends: the first step's, for all steps."""
    outcomes = []
    for enabled in (False, True):
        model = network(dtype=torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            train(
                model,
                cross_entropy,
                (X.float(), LABELS),
                batch_size=8,
                epochs=3,
                lr=0.3,
                precision=precision,
                rng=0,
                device="cpu",
            )
        outcomes.append(parameters(model))
    assert torch.equal(*outcomes)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_callers_way_without_gradients_changes_nothing(mode):
    ours, judge = network(), network()
    options = {"batch_size": 8, "epochs": 2, "lr": 0.1, "rng": 0, "validation": (X, LABELS)}
    with mode():
        train(ours, cross_entropy, (X, LABELS), **options)
    train(judge, cross_entropy, (X, LABELS), **options)
    assert torch.equal(parameters(ours), parameters(judge))


def test_small_integers_of_numpy_do_not_overflow(tmp_path):
    small = {"batch_size": np.int8(1), "epochs": np.uint8(3), "micro_batch_size": np.int8(1)}
    small |= {"checkpoint_every": np.int8(100), "patience": np.int8(100), "rng": np.uint8(7)}
    outcomes = []
    for name, options in {"a": small, "b": {k: int(v) for k, v in small.items()}}.items():
        options |= {"lr": np.float32(0.01), "clip": np.float16(3), "checkpoint": tmp_path / name}
        model = network()
        train(model, cross_entropy, (X, LABELS), validation=(X, LABELS), **options)
        outcomes.append(parameters(model))
    assert torch.equal(*outcomes)


def test_a_rate_in_a_tensor_makes_the_same_step():
    ours, judge = network(), network()
    for model, lr in [(ours, 0.3), (judge, 0.3)]:
        optimizer = PlainSGD(model.parameters(), lr)
        if model is ours:
            optimizer.param_groups[0]["lr"] = torch.tensor(lr, dtype=torch.float64)
        cross_entropy(model(X), LABELS).mean().backward()
        optimizer.step()
    torch.testing.assert_close(parameters(ours), parameters(judge), rtol=1e-14, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("last", ["scale", "pad"])
def test_captured_steps_are_the_same_steps(last):
    data, schedule = (X.float(), LABELS), cosine(0.3, length=5)
    options = {"batch_size": 8, "epochs": 5, "lr": schedule, "last": last, "rng": 0, "clip": 1.0}
    eager, captured = network(dtype=torch.float32), network(dtype=torch.float32)
    expected = train(eager, cross_entropy, data, **options)
    history = train(captured, cross_entropy, data, capture=True, **options)
    np.testing.assert_allclose(history.step_losses, expected.step_losses, rtol=1e-4)
    torch.testing.assert_close(parameters(captured), parameters(eager), rtol=1e-3, atol=1e-5)
