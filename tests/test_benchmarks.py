"""The benchmarks compare like with like: each peer does what sgdlib does."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from small_book import ROOT

sys.path.append(str(ROOT))
from benchmarks import __main__ as bench
from benchmarks import gpu, numpy_runs, replicas
from benchmarks._measure import Comparison, Result, Skipped, compare, report
from sgdlib import Batch, LeastSquares, NoisyQuadratic, minibatch_sgd
from sgdlib.batching import index_blocks
from sgdlib.book import load_gpu_recording

B, EPOCHS = 16, 3
X, Y = numpy_runs.data(200, 5)
PROBLEM = LeastSquares(X, Y)


def batches_of(orders):
    """Return the batches of one order after the other, each with the weights of its mean."""
    cuts = ((o[i : i + B] for i in range(0, len(o), B)) for o in orders)
    return [Batch(batch, np.full(len(batch), 1 / len(batch))) for cut in cuts for batch in cut]


def test_the_listing_makes_the_same_steps():
    rng = np.random.default_rng(1)
    plan = batches_of([rng.permutation(len(X)) for _ in range(EPOCHS)])
    ours = minibatch_sgd(PROBLEM, np.zeros(5), lr=numpy_runs.LR, batches=plan)
    theta, history = numpy_runs.listing(X, Y, B, EPOCHS, np.random.default_rng(1))
    np.testing.assert_allclose(theta, ours.theta, rtol=1e-12)
    assert len(history) == len(plan) + EPOCHS
    assert history[-1] == pytest.approx(ours.losses[-1], rel=1e-12)


def test_the_compiled_loop_makes_the_same_steps():
    ours = minibatch_sgd(
        PROBLEM, np.zeros(5), lr=numpy_runs.LR, batch_size=B, epochs=EPOCHS, last="keep", rng=1
    )
    theta, losses = numpy_runs.compiled(X, Y, B, EPOCHS, np.random.default_rng(1))
    np.testing.assert_allclose(theta, ours.theta, rtol=1e-10)
    np.testing.assert_allclose(losses, ours.losses[1:], rtol=1e-10)


def test_the_compiled_replicas_make_the_same_steps():
    options = {"batch_size": B, "steps": 20, "sampling": "replacement", "rng": 1}
    ours = minibatch_sgd(PROBLEM, np.zeros((7, 5)), lr=replicas.LR, **options)
    theta = replicas.compiled(X, Y, B, 20, np.random.default_rng(1), replicas=7)
    np.testing.assert_allclose(theta, ours.theta, rtol=1e-10)


def test_the_listing_with_replacement_makes_the_same_steps():
    rng = np.random.default_rng(1)
    plan = [Batch(rng.integers(0, len(X), B), np.full(B, 1 / B)) for _ in range(20)]
    ours = minibatch_sgd(PROBLEM, np.zeros(5), lr=replicas.LR, batches=plan)
    theta, _ = replicas.listing(X, Y, B, 20, np.random.default_rng(1))
    np.testing.assert_allclose(theta, ours.theta, rtol=1e-12)


def test_the_compiled_walkers_have_the_same_law():
    from benchmarks import _compiled

    walkers, steps = 4000, 100
    bowl = NoisyQuadratic(replicas.CURVATURES, 1.0)
    start = np.zeros((walkers, 2))
    ours = minibatch_sgd(bowl, start, lr=0.1, batch_size=1, steps=steps, rng=0).theta
    theirs = start.copy()
    rng = np.random.default_rng(1)
    _compiled.walk(theirs, replicas.CURVATURES, 1.0, 0.1, steps, rng)
    relative = 2 * np.sqrt(2 / walkers)  # standard error of a ratio of two variances, doubled
    np.testing.assert_allclose(theirs.var(axis=0) / ours.var(axis=0), 1, atol=2 * relative)


def test_the_blocks_of_replicas_draw_as_one():
    """The compiled peer draws block by block what ours draws, whatever the size of the blocks."""
    options = {"sampling": "replacement", "steps": 30, "replicas": 3}
    one, other = (
        np.concatenate([b.indices for b in index_blocks(50, 4, rng=2, rows=r, **options)])
        for r in (8, 8192)
    )
    np.testing.assert_array_equal(one, other)


def test_compare_pairs_and_alternates():
    calls = []
    result = compare(lambda: calls.append("o"), lambda: calls.append("p"), repeats=7, calls=(2, 1))
    pairs = ["poo", "oop"]
    assert "".join(calls) == "".join(pairs[i % 2] for i in range(8))
    assert result.ratio[0] <= result.ratio[1] <= result.ratio[2]
    with pytest.raises(ValueError, match="repeats=6: expected at least 7"):
        compare(lambda: None, lambda: None, repeats=6)


COMPARISON = Comparison((1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (1.9, 2.0, 2.1), 9)


def test_what_reaches_its_goal():
    assert Result.faster("a", "b", COMPARISON, 2.0).met is True
    assert Result.faster("a", "b", COMPARISON, 2.01).met is False
    assert Result.faster("a", "b", COMPARISON).met is None
    assert Result.faster("a", "b", COMPARISON.scaled(10), 20).quartiles == (19.0, 21.0)
    slower = Result.overhead("a", "b", COMPARISON, 0.5)
    assert slower.met is True
    assert slower.quartiles == (1 / 2.1, 1 / 1.9)


def test_report_writes_what_was_measured_and_what_was_skipped(tmp_path, capsys):
    file = tmp_path / "r.json"
    lines = [Result.faster("a", "b", COMPARISON, 3.0), Skipped("on a GPU", "no CUDA device")]
    report("Title", lines, ["--json", str(file)])
    data = json.loads(file.read_text())
    assert data["results"][0]["met"] is False
    assert data["skipped"] == [{"name": "on a GPU", "why": "no CUDA device"}]
    said = capsys.readouterr().out
    assert "MISSED" in said
    assert "skipped: no CUDA device" in said
    table = bench.table([data])
    assert "NO" in table
    assert "on a GPU" in table


def test_the_stored_results_are_complete_and_name_no_machine():
    text = bench.RESULTS.read_text()
    data = json.loads(text)
    assert tuple(program["name"] for program in data["programs"]) == bench.PROGRAMS
    assert set(data["versions"]) == {"Python", *bench.PACKAGES}
    for program in data["programs"]:
        for r in program["results"]:
            assert r["quartiles"][0] <= r["ratio"] <= r["quartiles"][1]
            assert r["repeats"] >= 7 or program["name"] == "accumulation"  # counted, not timed
    assert not re.search(r"/(home|work|tmp|root|usr)\b", text)


def test_an_unknown_program_is_refused():
    command = [sys.executable, "-m", "benchmarks", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'nonsense': expected some of loading" in done.stderr


# -- the recording of a GPU --


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    """Run the program once, at its smallest; return the file and what it said meanwhile."""
    file = tmp_path_factory.mktemp("recording") / "quick.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--quick", "--device", "cpu"]
    done = subprocess.run(
        [*command, "--json", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return file, done.stderr


def test_the_recording_program_runs_to_its_end_on_a_cpu(quick_run):
    file, said = quick_run
    assert [f"-- {part}" in said for part in gpu.PARTS] == [True] * 6  # it says how far it is
    record = load_gpu_recording(file)
    assert record["quick"] is True
    assert record["device"]["kind"] == "cpu"
    methods = {(r["method"], r["precision"]) for r in record["throughput"]["rows"]}
    assert methods == {(m, p) for m in ("loader", "device") for p in ("float32", "bf16")}
    assert all(r["joules"] is None for r in record["time_to_target"]["rows"])
    assert list(file.parent.iterdir()) == [file]
    assert not re.search(r"/(home|work|tmp|root|usr)\b", file.read_text())


def test_the_chapter_draws_what_the_program_writes(quick_run):
    record = load_gpu_recording(quick_run[0])
    for row in record["time_to_target"]["rows"]:
        row["reached"] = True
    cells = json.loads((ROOT / "chapters/applications/13_gpu.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    wanted = [s for s in sources if "def draw_throughput" in s or "def draw_recorded" in s]
    drawing = "\n".join(source.partition("\nshow(")[0] for source in wanted)
    names = {"np": np, "plt": plt}
    exec(drawing, names)
    part, peaks = record["throughput"], names["recorded_peaks"](record)
    figures = [
        names["draw_throughput"](part["rows"], part["flops_per_example"], peaks),
        names["draw_recorded_race"](record["time_to_target"]),
        names["draw_recorded_map"](record["heat_map"]),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        assert figure.axes[0].has_data()
        plt.close(figure)
    assert "8 networks at once" in names["described"](record)


def test_a_recording_cut_short_keeps_what_was_done(tmp_path, monkeypatch):
    def fails(sizes, device, show):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "PARTS", {"limits": gpu.limits, "throughput": fails})
    file, partial = tmp_path / "quick.json", tmp_path / "quick.partial.json"
    file.write_text("an older recording")
    with pytest.raises(KeyboardInterrupt):
        gpu.main(["--quick", "--device", "cpu", "--json", str(file)])
    assert file.read_text() == "an older recording"
    record = json.loads(partial.read_text())
    assert record["limits"]["products"]
    assert record["complete"] is False
    with pytest.raises(ValueError, match="cut short"):
        load_gpu_recording(partial)


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), ("cuda:1", 1)])
def test_a_gpu_is_chosen_by_a_device_that_torch_takes(name, index, tmp_path, monkeypatch):
    chosen = []

    def set_device(device):  # torch's own look at its argument, which needs no GPU
        chosen.append(torch.cuda._utils._get_device_index(device))
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    with pytest.raises(KeyboardInterrupt):
        gpu.main(["--quick", "--device", name, "--json", str(tmp_path / "quick.json")])
    assert chosen == [index]


def test_only_a_full_run_on_a_gpu_becomes_the_books_recording(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--quick", "--device", "cpu"])
    assert "only a full run on a GPU" in capsys.readouterr().err


def test_the_products_of_a_step_are_counted():
    from torch.utils.flop_counter import FlopCounterMode

    widths = (6, 8, 5, 3)
    model, x = gpu.network(widths), torch.ones(7, 6)
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    assert counter.get_total_flops() == 7 * gpu.flops_per_example(widths)


def test_the_two_loops_of_the_recording_make_the_same_step():
    """One batch of all the data: the order does not matter, and both must move alike."""
    X, y = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    models = [gpu.network((6, 5, 3)) for _ in range(2)]
    for model, make in zip(models, (gpu.loader_step, gpu.device_step), strict=True):
        make(model, (X, y), 8, "float32", torch.device("cpu"))()
    start = gpu.network((6, 5, 3))
    for p, q, s in zip(*(m.parameters() for m in (*models, start)), strict=True):
        assert not torch.equal(p, s)
        torch.testing.assert_close(p - s, q - s, rtol=2e-2, atol=1e-7)
