"""Accumulated gradients equal the batch's, for any partition; memory falls as 1/K."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sgdlib.deep import LivePeak, SavedBytes, accumulate_gradients
from sgdlib.deep.accumulation import forward

quick = settings(max_examples=60, deadline=None, derandomize=True)
DTYPES = {torch.float32: 1e-6, torch.float64: 1e-12}


def gaussian(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def network(dtype=torch.float64, norm=None, width=16):
    norm = nn.Identity() if norm is None else norm
    net = nn.Sequential(nn.Linear(6, width), norm, nn.ReLU(), nn.Linear(width, 4)).to(dtype)
    for i, p in enumerate(net.parameters()):
        p.data = 0.5 * gaussian(*p.shape, seed=10 + i, dtype=dtype)
    return net


def data(size, dtype=torch.float64):
    return gaussian(size, 6, dtype=dtype), torch.arange(size) % 4


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def gradient(model):
    flat = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    return flat


def accumulated(model, batch, weights=None, **options):
    losses = accumulate_gradients(model, cross_entropy, batch, weights, **options)
    return gradient(model), losses


def at_once(model, batch, weights=None):
    """Return the gradient of the weighted sum, written out, in one piece."""
    x, y = batch
    losses = cross_entropy(model(x), y)
    (losses.mean() if weights is None else (weights * losses).sum()).backward()
    return gradient(model), losses.detach()


def by_fixed_divisor(model, batch, sizes):
    """The planted bug: every micro-batch's mean loss divided by the nominal number K of them."""
    x, y = batch
    nominal = max(1, round(len(x) / sizes[0]))
    for xs, ys in zip(x.split(sizes), y.split(sizes), strict=True):
        (cross_entropy(model(xs), ys).mean() / nominal).backward()
    return gradient(model), None


def by_mean_of_means(model, batch, sizes):
    """The planted bug: the plain average of the micro-batches' mean losses."""
    x, y = batch
    for xs, ys in zip(x.split(sizes), y.split(sizes), strict=True):
        (cross_entropy(model(xs), ys).mean() / len(sizes)).backward()
    return gradient(model), None


def assert_same_gradient(got, expected, tolerance):
    assert (got - expected).norm() <= tolerance * expected.norm()


# -- exact --


@st.composite
def partitions(draw):
    """Draw a batch size and the sizes of its micro-batches, in any order."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    return sum(sizes), sizes


@given(partitions(), st.sampled_from(list(DTYPES)), st.booleans())
@quick
def test_any_partition_gives_the_gradient_of_the_batch(partition, dtype, weighted):
    size, sizes = partition
    model, batch = network(dtype), data(size, dtype)
    weights = gaussian(size, seed=3, dtype=dtype) if weighted else None
    expected, losses = at_once(model, batch, weights)
    got, ours = accumulated(model, batch, weights, micro_batch_size=sizes)
    assert_same_gradient(got, expected, 4 * DTYPES[dtype])
    torch.testing.assert_close(ours, losses, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "micro"), [(64, 8), (64, 10), (70, 64), (5, 1), (5, 5), (5, 9)])
def test_equal_pieces_with_a_ragged_tail(dtype, size, micro):
    model, batch = network(dtype), data(size, dtype)
    got, _ = accumulated(model, batch, micro_batch_size=micro)
    assert_same_gradient(got, at_once(model, batch)[0], DTYPES[dtype])


@pytest.mark.parametrize("bug", [by_fixed_divisor, by_mean_of_means])
def test_dividing_by_the_number_of_pieces_is_wrong(bug):
    model, batch, sizes = network(), data(70), [8] * 8 + [6]
    expected, _ = at_once(model, batch)
    assert_same_gradient(accumulated(model, batch, micro_batch_size=sizes)[0], expected, 1e-12)
    with pytest.raises(AssertionError):  # it is off by more than a thousandth
        assert_same_gradient(bug(model, batch, sizes)[0], expected, 1e-3)


def test_an_incomplete_group_divided_by_k_makes_a_fraction_of_the_step():
    model, batch = network(), data(8)
    x, y = batch
    (cross_entropy(model(x), y).mean() / 4).backward()  # one micro-batch where four were meant
    wrong = gradient(model)
    right, _ = accumulated(model, batch)
    torch.testing.assert_close(wrong, right / 4, rtol=1e-12, atol=0)


def test_gradients_are_added_to_what_is_there():
    model, batch = network(), data(12)
    once, _ = accumulated(model, batch)
    for _ in range(2):
        accumulate_gradients(model, cross_entropy, batch, micro_batch_size=5)
    assert_same_gradient(gradient(model), 2 * once, 1e-12)


def test_default_weights_are_the_mean():
    model, batch = network(), data(12)
    ones = torch.full((12,), 1 / 12, dtype=torch.float64)
    assert torch.equal(accumulated(model, batch)[0], accumulated(model, batch, ones)[0])


def stale_forward(model, x):
    """The planted bug: autocast's own cache, which lives as long as the outermost autocast."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model(x).float()


def test_bf16_inside_an_outer_autocast_sees_the_new_weights():
    """As a recorded step must, too: a cached cast would freeze the weights of the first step."""
    model, (x, _) = network(torch.float32), data(8, torch.float32)

    def outputs_after_a_step(call):
        torch.nn.init.constant_(model[0].weight, 0.1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            call()
            torch.nn.init.constant_(model[0].weight, 0.3)  # the step
            return call().detach()

    expected = outputs_after_a_step(lambda: forward(copy.deepcopy(model), x, "bf16"))
    got = outputs_after_a_step(lambda: forward(model, x, "bf16"))
    assert torch.equal(got, expected)
    stale = outputs_after_a_step(lambda: stale_forward(model, x))
    assert not torch.equal(stale, expected)


def test_bf16_pieces_agree_with_the_bf16_batch():
    model, batch = network(torch.float32), data(32, torch.float32)
    whole, _ = accumulated(model, batch, precision="bf16")
    pieces, losses = accumulated(model, batch, precision="bf16", micro_batch_size=5)
    exact, _ = accumulated(model, batch)
    assert losses.dtype == torch.float32
    assert 1e-5 * exact.norm() < (whole - exact).norm() < 0.02 * exact.norm()
    assert (pieces - whole).norm() < 0.02 * exact.norm()


# -- what couples the examples of a batch --


def test_batch_norm_is_not_the_same_and_group_norm_is():
    batch = data(32)
    for norm, same in [(nn.BatchNorm1d(16), False), (nn.GroupNorm(4, 16), True)]:
        model = network(norm=norm)
        expected, _ = at_once(model, batch)
        got, _ = accumulated(model, batch, micro_batch_size=8)
        assert ((got - expected).norm() < 1e-12 * expected.norm()) == same
        assert same or (got - expected).norm() > 0.01 * expected.norm()


def workers(norm, batch, count):
    """Return the mean gradient of data-parallel workers that synchronise gradients only."""
    total = 0
    for xs, ys in zip(*(t.chunk(count) for t in batch), strict=True):
        model = network(norm=norm)
        cross_entropy(model(xs), ys).mean().backward()
        total = total + gradient(model) / count
    return total


def test_pieces_with_batch_norm_are_unsynchronised_workers():
    batch = data(32)
    got, _ = accumulated(network(norm=nn.BatchNorm1d(16)), batch, micro_batch_size=8)
    assert_same_gradient(got, workers(nn.BatchNorm1d(16), batch, 4), 1e-12)
    with pytest.raises(AssertionError):  # two workers normalise over twice as many
        assert_same_gradient(got, workers(nn.BatchNorm1d(16), batch, 2), 1e-2)


def test_frozen_batch_norm_is_exact():
    norm = nn.BatchNorm1d(16).eval()
    expected, _ = at_once(network(norm=norm), data(32))
    got, _ = accumulated(network(norm=norm), data(32), micro_batch_size=5)
    assert_same_gradient(got, expected, 1e-12)


@pytest.mark.parametrize("pieces", [1, 4])
def test_running_statistics_move_once_for_each_piece(pieces):
    norm = nn.BatchNorm1d(16, momentum=0.1)
    norm.num_batches_tracked.zero_()
    accumulated(network(norm=norm), data(32), micro_batch_size=32 // pieces)
    assert norm.num_batches_tracked == pieces
    norm.running_var.fill_(0)
    norm.running_mean.fill_(1)
    model = network(norm=norm)
    for p in model[0].parameters():
        p.data.zero_()  # every feature is 0: what is left of the mean is what was forgotten
    accumulated(model, data(32), micro_batch_size=32 // pieces)
    expected = torch.full((16,), 0.9**pieces, dtype=torch.float64)
    torch.testing.assert_close(norm.running_mean, expected)


def test_adding_up_losses_saves_nothing():
    model, (x, y) = wide()
    with SavedBytes(model.parameters()) as whole:
        cross_entropy(model(x), y).mean().backward()
    with SavedBytes(model.parameters()) as summed:  # one backward, after the loop
        pieces = zip(x.split(512), y.split(512), strict=True)
        sum(cross_entropy(model(xs), ys).sum() / 4096 for xs, ys in pieces).backward()
    assert summed.peak >= 0.99 * whole.peak
    assert measured(8)[0] < 0.13 * whole.peak


# -- memory: the same number on every run --


def wide(width=128):
    net = nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )
    return net, (gaussian(4096, 64, dtype=torch.float32), torch.arange(4096) % 10)


def measured(pieces):
    """Return the peaks of saved and of live bytes, without the gradients that any batch needs."""
    model, batch = wide()
    micro = 4096 // pieces
    with SavedBytes(model.parameters()) as saved:
        accumulate_gradients(model, cross_entropy, batch, micro_batch_size=micro)
    model.zero_grad()
    with LivePeak() as memory:
        accumulate_gradients(model, cross_entropy, batch, micro_batch_size=micro)
    assert saved.held == 0
    assert memory.live == sum(p.grad.nbytes for p in model.parameters())
    return saved.peak, memory.peak


def test_memory_falls_as_one_over_the_number_of_pieces():
    saved, live = measured(1)
    for pieces in (2, 4, 8):  # a piece's activations exceed the parameters tenfold or more
        saved_k, live_k = measured(pieces)
        assert saved_k <= 1.02 / pieces * saved
        assert live_k <= 1.15 / pieces * live


def test_saved_bytes_are_the_activations_that_backward_needs():
    """Input, hidden layer (once, though two layers need it), log-probabilities, targets, weight."""
    model, (x, y) = network(torch.float32), data(32, torch.float32)
    with SavedBytes(model.parameters()) as saved:
        losses = cross_entropy(model(x), y)
    counted = x.nbytes + 32 * 16 * 4 + 32 * 4 * 4 + y.nbytes
    assert counted <= saved.peak <= counted + 64
    assert saved.held == saved.peak
    losses.sum().backward()
    assert saved.held == 0


def test_live_peak_of_a_known_program():
    with LivePeak() as memory:
        a = torch.ones(1000)
        b = a * 2
        c = b.view(10, 100)  # no memory of its own
        del a
        d = c + 1
        del b, c
    assert memory.peak == max(memory.history) == 8000
    assert memory.history == [4000, 8000, 8000, 8000]  # ones, times two, view, plus one
    assert memory.live == 4000
    del d
    assert memory.live == 0


def test_outputs_are_not_held_through_the_backward_pass():
    """Cross-entropy needs the logarithms of the probabilities and not the outputs themselves."""
    model, (x, y) = network(torch.float32), data(4096, torch.float32)
    with LivePeak() as ours:
        accumulate_gradients(model, cross_entropy, (x, y))
    model.zero_grad()
    with LivePeak() as by_hand:
        cross_entropy(model(x), y).backward(torch.full((4096,), 1 / 4096))
    assert ours.peak <= by_hand.peak + 64


def training_step(batch_size, pieces, steps=2):
    """Return the sizes of a small network's parts, and the live bytes through its last step."""
    x, y = gaussian(batch_size, 64, dtype=torch.float32), torch.arange(batch_size) % 10
    with LivePeak() as memory:
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(steps):
            start = len(memory.history)
            accumulate_gradients(
                model, cross_entropy, (x, y), micro_batch_size=batch_size // pieces
            )
            middle = len(memory.history)
            optimizer.step()
            optimizer.zero_grad()
    parameters = sum(p.nbytes for p in model.parameters())
    state = sum(t.nbytes for s in optimizer.state.values() for t in s.values())
    return parameters, state, memory.history[start:middle]


def test_the_history_of_a_training_step_is_the_sum_of_its_parts():
    """It begins with parameters and optimizer state; at its end the gradients have come on top."""
    for batch_size, pieces in [(64, 1), (512, 1), (512, 8)]:
        parameters, state, history = training_step(batch_size, pieces)
        assert 2 * parameters <= state <= 2 * parameters + 64  # two moments, and step counters
        assert 0 <= history[0] - (parameters + state) <= 4 * batch_size  # the weights 1/B
        # the losses, and in pieces their copy and the weights, may still be there
        assert 0 <= history[-1] - (2 * parameters + state) <= 16 * batch_size


def test_the_peak_of_k_pieces_is_that_of_one_and_at_most_a_second_gradient():
    parameters, _, whole = training_step(4096, 1)
    _, _, one_piece = training_step(512, 1)
    _, _, pieces = training_step(4096, 8)
    assert max(one_piece) <= max(pieces) <= max(one_piece) + parameters + 16 * 4096
    assert max(pieces) < max(whole) / 4


# -- bad input --


@pytest.mark.parametrize(
    ("micro", "error", "message"),
    [
        (0, ValueError, "micro_batch_size=0"),
        (-2, ValueError, "micro_batch_size=-2"),
        (1.5, TypeError, "micro_batch_size=1.5"),
        ([3, 4], ValueError, r"micro_batch_size=\[3, 4\]: expected sizes that add up to 8, got 7"),
        ([8, 0], ValueError, "micro_batch_size=0"),
    ],
)
def test_bad_sizes_are_named(micro, error, message):
    model = network()
    with pytest.raises(error, match=message):
        accumulate_gradients(model, cross_entropy, data(8), micro_batch_size=micro)
    assert all(p.grad is None for p in model.parameters())


def test_bad_losses_weights_and_precision_are_named():
    model, batch = network(), data(8)
    with pytest.raises(ValueError, match=r"shape \(8,\), got \(\); .*reduction='none'"):
        accumulate_gradients(model, F.cross_entropy, batch)
    with pytest.raises(ValueError, match=r"weights: expected shape \(8,\), got \(3,\)"):
        accumulate_gradients(model, cross_entropy, batch, torch.ones(3))
    with pytest.raises(ValueError, match="precision='half'"):
        accumulate_gradients(model, cross_entropy, batch, precision="half")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"weights": torch.tensor([0.1] * 7 + [torch.nan])}, ValueError, "got nan at index 7"),
        ({"weights": torch.tensor([torch.inf] + [0.1] * 7)}, ValueError, "got inf at index 0"),
        ({"weights": [1 / 8] * 8}, TypeError, "weights: expected a torch.Tensor, got list"),
        ({"weights": np.ones(8)}, TypeError, "weights: expected a torch.Tensor, got ndarray"),
        ({"weights": torch.ones(8, 1)}, ValueError, r"weights: expected shape (8,), got (8, 1)"),
        ({"weights": torch.ones(8) + 0j}, TypeError, "weights: expected real numbers"),
        ({"weights": torch.ones(8, device="meta")}, ValueError, "expected a tensor on cpu"),
        ({"weights": "equal"}, TypeError, "weights: expected a torch.Tensor, got str"),
        ({"micro_batch_size": "all"}, TypeError, "micro_batch_size='a': expected an int"),
        ({"micro_batch_size": True}, TypeError, "micro_batch_size=True: expected an int"),
        ({"micro_batch_size": []}, ValueError, "micro_batch_size=[]: expected sizes that add up"),
        ({"micro_batch_size": [4, 4.0]}, TypeError, "micro_batch_size=4.0: expected an int"),
        ({"micro_batch_size": [4, 4, 4]}, ValueError, "got 12"),
        ({"precision": None}, ValueError, "precision=None: expected one of"),
        ({"precision": True}, ValueError, "precision=True: expected one of"),
        ({"batch": data(8)[0]}, TypeError, "batch: expected tensors, such as (x, y), got Tensor"),
        ({"batch": ()}, ValueError, "batch: expected at least one tensor"),
        ({"batch": (data(8)[0], data(7)[1])}, ValueError, "batch: expected equal numbers of rows"),
        ({"batch": (data(8)[0][:0], data(8)[1][:0])}, ValueError, "expected rows, got an empty"),
        ({"batch": (data(8)[0].numpy(), data(8)[1])}, TypeError, "batch[0]: expected a torch.Te"),
        (
            {"batch": (data(8)[0].float(), data(8)[1])},
            ValueError,
            "batch[0]: expected torch.float64",
        ),
        ({"batch": (data(8)[0], data(8)[1].int())}, ValueError, "batch[1]: expected labels in tor"),
        ({"batch": (data(8)[0].to_sparse(), data(8)[1])}, ValueError, "expected a dense tensor"),
        ({"model": network().requires_grad_(False)}, ValueError, "ask for a gradient, got none"),
        ({"model": nn.Linear(5, 4).double()}, ValueError, "got (3, 6) of torch.float64 and (3,)"),
        ({"loss": lambda o: o.sum(1)}, ValueError, "takes 1 positional argument but 2 were given"),
        ({"micro_batch_size": 10**30}, ValueError, "micro_batch_size=1000000000000000000000000000"),
        ({"model": len}, TypeError, "model: expected a torch.nn.Module"),
        ({"loss": "mse"}, TypeError, "loss='mse': expected a function"),
        ({"loss": nn.CrossEntropyLoss}, TypeError, "expected a function, got a class"),
        ({"loss": lambda o, y: o.detach().sum(1)}, ValueError, "losses that depend on the model's"),
        ({"loss": lambda o, y: o}, ValueError, "sum or average over the other dimensions"),
        ({"loss": lambda o, y: 1.0}, TypeError, "loss: expected a tensor of one loss per example"),
    ],
)
def test_bad_input_is_named(change, error, words):
    arguments = {"model": network(), "loss": cross_entropy, "batch": data(8)} | change
    with pytest.raises(error) as caught:
        accumulate_gradients(**arguments)
    assert words in str(caught.value)
    if isinstance(arguments["model"], nn.Module):
        assert all(p.grad is None for p in arguments["model"].parameters())


def test_columns_against_rows_are_told():
    model = nn.Linear(6, 1).double()
    x = gaussian(8, 6)
    with pytest.raises(ValueError, match=r"\(8, 1\) against targets \(8,\) make all pairs"):
        accumulate_gradients(model, lambda o, y: (o - y) ** 2, (x, x[:, 0]))


@pytest.mark.parametrize("weights", [torch.tensor([1, 0, 2]), torch.tensor([-1.0, 0.0, 0.5])])
def test_weights_may_be_whole_or_negative(weights):
    model, batch = network(), data(3)
    got, _ = accumulated(model, batch, weights, micro_batch_size=2)
    assert_same_gradient(got, at_once(model, batch, weights.double())[0], 1e-12)


def test_inputs_alone():
    model, x = nn.Linear(6, 1).double(), gaussian(5, 6)
    accumulate_gradients(model, lambda o: o[:, 0] ** 2, (x,), micro_batch_size=2)
    got = gradient(model)
    (model(x)[:, 0] ** 2).mean().backward()
    assert_same_gradient(got, gradient(model), 1e-12)


@pytest.mark.parametrize("there", [False, True])
def test_a_failure_in_the_middle_leaves_the_gradients_alone(there):
    model, (x, y) = network(), data(8)
    if there:
        accumulate_gradients(model, cross_entropy, (x, y))
    before = [(p.grad, p.grad.clone()) if there else (None, None) for p in model.parameters()]
    y[7] = 4  # out of range, in the last of the pieces
    with pytest.raises(ValueError, match=r"batch\[1\]: expected labels in 0..3.* at index 7"):
        accumulate_gradients(model, cross_entropy, (x, y), micro_batch_size=2)
    for p, (tensor, value) in zip(model.parameters(), before, strict=True):
        assert p.grad is tensor
        assert not there or torch.equal(p.grad, value)


def test_errors_of_the_users_own_come_through():
    def mine(outputs, y):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        accumulate_gradients(network(), mine, data(8))


def test_all_partitions_of_a_small_batch():
    """Every way to cut six examples into consecutive pieces: 32 of them."""
    model, batch = network(), data(6)
    expected, _ = at_once(model, batch)
    for cuts in itertools.product([False, True], repeat=5):
        places = [0, *np.flatnonzero(cuts) + 1, 6]
        sizes = np.diff(places).tolist()
        assert_same_gradient(accumulated(model, batch, micro_batch_size=sizes)[0], expected, 1e-12)
