"""Practice 3: answers that keep their points, and answers that lose those of their task."""

LIMIT = "def largest_rate(X):\n    h = np.linalg.eigvalsh(X.T @ X{n})\n    return {result}\n"
SCALE = (
    "def scaled_rate(lr, batch_size, new_batch_size, optimizer):\n    k = new_batch_size / batch_size\n"
    "    return {}\n"
)
WARM = "def warmed_up(progress, start, target, length):\n    return {}\n"
BEST = (
    "def best_rate(rates, losses):\n    losses = np.array(losses)\n    i = {}\n"
    "    return rates[i], {}\n"
)
MEAN = "int(np.argmin(np.nan_to_num(losses.mean(axis=1), nan=np.inf)))"
EDGE = "i == 0 or i == len(rates) - 1"

RIGHT = {
    "limit": [
        "def largest_rate(X):\n    return 2 * len(X) / np.linalg.svd(X, compute_uv=False)[0] ** 2",
        "def largest_rate(X):\n    H = X.T @ X / len(X)\n    v = np.ones(X.shape[1])\n"
        "    for _ in range(20000):\n        v = H @ v\n        v /= np.linalg.norm(v)\n"
        "    return 2 / (v @ H @ v)",
    ],
    "scale": [
        SCALE.format("lr * k if optimizer == 'sgd' else lr * np.sqrt(k)"),
        "from sgdlib.scaling import scale_lr\n"
        "def scaled_rate(lr, batch_size, new_batch_size, optimizer):\n"
        "    rule = {'sgd': 'linear', 'adam': 'sqrt'}[optimizer]\n"
        "    return scale_lr(lr, batch_size, new_batch_size, rule=rule)",
    ],
    "warmup": [
        WARM.format("np.interp(progress, [0, length], [start, target])"),
        "def warmed_up(progress, start, target, length):\n    if progress >= length:\n"
        "        return target\n    return start + (target - start) / length * progress",
        "from sgdlib.schedules import warmup\n"
        + WARM.format("warmup(target, length=length, start=start)(progress)"),
    ],
    "best": [
        BEST.format(MEAN, EDGE),
        "def best_rate(rates, losses):\n    good = []\n    for r, row in zip(rates, losses):\n"
        "        if all(np.isfinite(row)):\n            good.append((sum(row) / len(row), r))\n"
        "    rate = min(good)[1]\n    return rate, rate in (rates[0], rates[-1])",
    ],
}

# task: (answer, what the hint says)
WRONG = {
    "limit": [
        (LIMIT.format(n="", result="2 / h[-1]"), "divide by N"),
        (LIMIT.format(n=" / len(X)", result="1 / h[-1]"), "not the limit"),
        (LIMIT.format(n=" / len(X)", result="2 / h.sum()"), "not the trace"),
        (LIMIT.format(n=" / len(X)", result="2 / h[0]"), "largest eigenvalue"),
    ],
    "scale": [
        (SCALE.format("lr / k if optimizer == 'sgd' else lr / k**.5"), "larger batch"),
        (SCALE.format("lr * k**.5"), "linear"),
        (SCALE.format("lr * k"), "for Adam the square root"),
    ],
    "warmup": [
        (WARM.format("start + (target - start) * min(int(progress) / length, 1)"), "fraction"),
        (WARM.format("start + (target - start) * progress / length"), "the rate stays"),
        (WARM.format("target * min(progress / length, 1)"), "not at 0"),
        (WARM.format("start + target * min(progress / length, 1)"), "not by `target`"),
    ],
    "best": [
        (
            BEST.format(
                "int(np.nanargmin([np.mean(r[np.isfinite(r)]) if np.isfinite(r).any() else np.nan"
                " for r in losses]))",
                EDGE,
            ),
            "is out",
        ),
        (BEST.format("int(np.argmin(losses.mean(axis=1)))", EDGE), "is out"),
        (
            BEST.format(MEAN.replace("argmin", "argmax").replace("np.inf", "-1"), EDGE),
            "not largest",
        ),
        (BEST.format(MEAN, "False"), "edge"),
        (BEST.format(MEAN, "i == len(rates) - 1"), "edge"),
    ],
}
