"""Streams for torch: `train`, a `DataLoader` with workers, epochs, resuming."""

from collections import Counter

import numpy as np
import pytest
import torch
from test_streaming import SIZES, damage, write
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from sgdlib import ArrayStream, ShardError
from sgdlib.deep import StreamDataset, TensorBatches, train
from sgdlib.deep.loading import Loader
from sgdlib.descent import DivergenceError


@pytest.fixture
def files(tmp_path):
    return write(tmp_path)


def dataset(files, **options):
    return StreamDataset(files, **{"batch_size": 4, "block": 3, "mix": 2, "rng": 3} | options)


def rows(loader):
    return [row for _, y, _ in loader for row in y.tolist()]


def test_batches_are_tensors_with_weights_of_their_dtype(files):
    for x, y, w in dataset(files):
        assert (x.dtype, y.dtype, w.dtype) == (torch.float32, torch.int64, torch.float32)
        assert (x == y[:, None]).all()
        assert (w == 0.25).all()


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_yield_every_row_once_in_each_epoch_and_each_epoch_another_order(
    files, workers, persistent
):
    options = {"num_workers": workers, "persistent_workers": persistent and workers > 0}
    loader = DataLoader(dataset(files), batch_size=None, **options)
    epochs = [rows(loader) for _ in range(3)]
    assert all(Counter(epoch) == Counter(range(sum(SIZES))) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3
    loader.dataset.set_epoch(1)
    assert rows(loader) == epochs[1]


class Naive(IterableDataset):
    """The two planted bugs: it does not ask who it is, and counts epochs in its own copy."""

    def __init__(self, stream):
        self.stream, self.epoch = stream, 0

    def __iter__(self):
        epoch, self.epoch = self.epoch, self.epoch + 1
        for *arrays, w in self.stream.iterate(epoch):
            yield *map(torch.from_numpy, arrays), torch.full((len(w),), w[0])


def test_a_naive_dataset_repeats_everything_and_never_changes_its_order(files):
    stream = ArrayStream(files, batch_size=4, block=3, mix=2, rng=3)
    loader = DataLoader(Naive(stream), batch_size=None, num_workers=2)
    epochs = [rows(loader) for _ in range(2)]
    assert set(Counter(epochs[0]).values()) == {2}
    assert epochs[0] == epochs[1]


def test_more_workers_than_rows(tmp_path):
    data = StreamDataset(write(tmp_path, [2]), batch_size=1, rng=0)
    assert sorted(rows(DataLoader(data, batch_size=None, num_workers=3))) == [0, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_goes_away_is_named_in_a_worker_too(files, workers):
    loader = DataLoader(dataset(files, mix=1), batch_size=None, num_workers=workers)
    damage(files[0][4], "missing")
    with pytest.raises(ShardError, match=r"x4.npy: cannot be read any more"):
        rows(loader)


def net():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def loss(outputs, targets):
    return (outputs[:, 0] / 50 - targets / 50) ** 2


def trained(data, epochs=3, model=None, **options):
    model = model or net()
    options = {"lr": 1e-4, "epochs": epochs, "rng": 0, "progress": False} | options
    history = train(model, loss, data, **options)
    return model, history


def test_train_takes_a_stream_as_it_is_and_through_a_loader(files):
    direct, history = trained(dataset(files))
    through, _ = trained(DataLoader(dataset(files), batch_size=None))
    for p, q in zip(direct.parameters(), through.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0)
    assert history.epochs.tolist() == [1, 2, 3]


def test_train_on_a_stream_is_train_on_the_same_batches_in_memory(files):
    """A slow loop with the weights written out, over the rows in the order that was streamed."""
    model, _ = trained(dataset(files, batch_size=7), lr=1e-4)
    slow, data = net(), dataset(files, batch_size=7)
    for epoch in range(3):
        for x, y, w in data.iterate(epoch):
            slow.zero_grad()
            (loss(slow(x), y) * w).sum().backward()
            with torch.no_grad():
                for p in slow.parameters():
                    p -= 1e-4 * p.grad
    for p, q in zip(model.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("workers", [None, 0, 2])
def test_a_loader_knows_its_examples_weights_and_epochs(files, workers):
    data = dataset(files, batch_size=3)
    source = data if workers is None else DataLoader(data, batch_size=None, num_workers=workers)
    loader = Loader(source, torch.device("cpu"))
    assert loader.n == sum(SIZES)
    whole = [y.tolist() for _, y, _ in loader.epoch(1)]
    assert [y.tolist() for _, y, _ in loader.epoch(1, 5)] == whole[5:]
    assert whole != [y.tolist() for _, y, _ in loader.epoch(2)]
    weights = {round(w, 6) for *_, w in loader.epoch(0) for w in w.tolist()}
    assert weights == {round(1 / 3, 6)}


def test_a_run_stopped_within_an_epoch_is_taken_up_from_its_checkpoint(files, tmp_path):
    whole, _ = trained(dataset(files), epochs=3)
    path, count = tmp_path / "run.pt", [0]

    def failing(outputs, targets):
        count[0] += 1
        if count[0] == 20:
            raise KeyboardInterrupt
        return loss(outputs, targets)

    model = net()
    options = {"lr": 1e-4, "epochs": 3, "rng": 0, "progress": False, "checkpoint": path}
    with pytest.raises(KeyboardInterrupt):
        train(model, failing, dataset(files), **options)
    again = net()
    train(again, loss, dataset(files), **options)
    for p, q in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0)


def test_one_rank_after_the_other_is_the_whole_epoch(files):
    ranks = [dataset(files, rank=r, ranks=3) for r in range(3)]
    assert sum(r.n for r in ranks) == sum(SIZES)
    loaders = [DataLoader(r, batch_size=None, num_workers=2) for r in ranks]
    assert Counter(row for loader in loaders for row in rows(loader)) == Counter(range(sum(SIZES)))


def test_the_law_is_that_of_tensors_in_memory_where_everything_is_mixed(files):
    """Blocks of one row: each epoch a permutation, cut as `TensorBatches` cuts it."""
    stream = dataset(files, block=1, mix=1000)
    memory = TensorBatches(torch.arange(50), batch_size=4, rng=0)
    assert [len(w) for *_, w in stream] == [len(w) for *_, w in memory]
    assert [w.sum().item() for *_, w in stream] == [w.sum().item() for *_, w in memory]


@pytest.mark.parametrize("b", [1, 5, 12, 49, 50])
def test_the_tensors_are_the_arrays_of_the_stream(files, b):
    """Batches that are longer than a mixture included: 12 rows and more, of 4."""
    options = {"batch_size": b, "block": 2, "mix": 2, "last": "keep", "rng": 1}
    ours, arrays = list(StreamDataset(files, **options)), list(ArrayStream(files, **options))
    assert len(ours) == len(arrays) == -(-50 // b)
    for tensors, batch in zip(ours, arrays, strict=True):
        for tensor, array in zip(tensors, batch, strict=True):
            np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-6)


def test_a_dtype_that_torch_does_not_have(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3, np.longdouble))
    with pytest.raises(TypeError, match="shards: torch has no dtype float128"):
        StreamDataset([tmp_path / "x.npy"], batch_size=1)


def test_nan_in_the_data_ends_the_run_with_an_error(files):
    array = np.load(files[0][4])
    array[3] = np.nan
    np.save(files[0][4], array)
    with pytest.raises(DivergenceError):
        trained(dataset(files))
