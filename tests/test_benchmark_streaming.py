"""The peers of the streaming benchmark give out what the stream gives out."""

import importlib.util
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from small_book import ROOT

sys.path.append(str(ROOT))
from benchmarks import streaming
from sgdlib.deep import StreamDataset


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "SHARDS", 3)
    monkeypatch.setattr(streaming, "ROWS", 40)
    return streaming.write(tmp_path)


def rows(batches):
    return Counter(
        (x.numpy().tobytes(), int(y)) for xs, ys, *_ in batches for x, y in zip(xs, ys, strict=True)
    )


def test_the_map_holds_the_rows_of_the_stream(files):
    streaming.forget(files)
    loader = torch.utils.data.DataLoader(streaming.Mapped(files), batch_size=8, shuffle=True)
    ours = rows(StreamDataset(files, batch_size=8, block=8, mix=2, rng=0))
    assert rows(loader) == ours
    assert sum(ours.values()) == 120


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="no package datasets")
def test_hugging_face_streams_the_rows_of_the_stream(files, tmp_path):
    loader = streaming.hugging_face(tmp_path, files, 8)
    theirs = rows((batch["x"], batch["y"]) for batch in loader)
    assert theirs == rows(StreamDataset(files, batch_size=8, block=8, mix=2, rng=0))


def test_without_the_package_it_is_skipped(files, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert streaming.hugging_face(tmp_path, files, 8) is None
    assert np.load(files[0][0]).shape == (40, 64)


def test_a_peer_runs_on_from_one_timing_to_the_next():
    seen = []
    take = streaming.next_part((seen.append(k) for k in range(100)), streaming.ROWS // 3)
    assert seen == [0]  # its start is not timed
    take()
    take()
    assert seen == [0, 1, 2, 3, 4, 5, 6]
