"""Practice 2: answers that keep their points, and answers that lose those of their task."""

GRADIENT = "def batch_gradient(theta, X, y, batch):\n    return {}\n"
VARIANCE = (
    "def expected_squared_error(gradients, batch_size, replacement=False):\n"
    "    n = len(gradients)\n    trace = gradients.var(axis=0, ddof={ddof}).sum()\n"
    "    f = 1 if replacement else {factor}\n    return {result}\n"
)
MEASURED = (
    "def measured_squared_error(gradients, batch_size, draws, rng):\n    found = []\n"
    "    for _ in range(draws):\n"
    "        batch = rng.choice(len(gradients), batch_size, replace={replace})\n"
    "        off = gradients[batch].mean(axis=0) - gradients.mean(axis=0)\n"
    "        found.append({one})\n    return {result}\n"
)
NOISE = "def noise_scale(small, large, b, B):\n    S = {}\n    G = {}\n    return {}\n"
TRACE, SQUARE = "(small - large) / (1 / b - 1 / B)", "large - S / B"

RIGHT = {
    "gradient": [
        "def batch_gradient(theta, X, y, batch):\n    g = np.zeros(len(theta))\n"
        "    for i in batch:\n        g = g + (X[i] @ theta - y[i]) * X[i]\n    return g / len(batch)",
        "from sgdlib import LeastSquares\n"
        + GRADIENT.format(
            "LeastSquares(X, y).batch_gradient(theta, batch, np.full(len(batch), 1 / len(batch)))"
        ),
        "import torch\ndef batch_gradient(theta, X, y, batch):\n"
        "    t = torch.tensor(theta, requires_grad=True)\n"
        "    loss = ((torch.tensor(X[batch]) @ t - torch.tensor(y[batch])) ** 2).mean() / 2\n"
        "    loss.backward()\n    return t.grad",
    ],
    "variance": [
        VARIANCE.format(
            ddof=0, factor="(n - batch_size) / (n - 1)", result="trace / batch_size * f"
        ),
        "def expected_squared_error(gradients, batch_size, replacement=False):\n"
        "    n = len(gradients)\n    S2 = np.trace(np.atleast_2d(np.cov(gradients.T)))\n"
        "    if replacement:\n        return S2 * (n - 1) / n / batch_size\n"
        "    return S2 / batch_size * (1 - batch_size / n)",
    ],
    "measured": [
        MEASURED.format(replace=False, one="off @ off", result="np.mean(found)"),
        "def measured_squared_error(gradients, batch_size, draws, rng):\n"
        "    n = len(gradients)\n"
        "    rows = rng.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)[:, :batch_size]\n"
        "    off = gradients[rows].mean(axis=1) - gradients.mean(axis=0)\n"
        "    return (off ** 2).sum(axis=1).mean()",
    ],
    "noise-scale": [
        NOISE.format(TRACE, SQUARE, "G, S, S / G"),
        "def noise_scale(small, large, b, B):\n"
        "    G, S = np.linalg.solve([[1, 1 / b], [1, 1 / B]], [small, large])\n"
        "    return np.array([G, S, S / G])",
    ],
}

# task: (answer, what the hint says)
WRONG = {
    "gradient": [
        (GRADIENT.format("(X[batch] @ theta - y[batch]) @ X[batch]"), "mean, not sum"),
        (GRADIENT.format("(X[batch] @ theta - y[batch]) @ X[batch] / len(X)"), "size of the batch"),
        (GRADIENT.format("2 * (X[batch] @ theta - y[batch]) @ X[batch] / len(batch)"), "1/2"),
        (GRADIENT.format("(y[batch] - X[batch] @ theta) @ X[batch] / len(batch)"), "minus target"),
    ],
    "variance": [
        (VARIANCE.format(ddof=0, factor="1", result="trace / batch_size"), "(N - B)/(N - 1)"),
        (
            VARIANCE.format(
                ddof=0, factor="(n - batch_size) / (n - 1)", result="(trace / batch_size * f) ** .5"
            ),
            "standard deviation",
        ),
        (
            VARIANCE.format(
                ddof=1, factor="(n - batch_size) / (n - 1)", result="trace / batch_size * f"
            ),
            "divisor N",
        ),
        (
            VARIANCE.format(ddof=0, factor="(n - batch_size) / n", result="trace / batch_size * f"),
            "belongs to the divisor",
        ),
        (
            VARIANCE.format(
                ddof=0,
                factor="(n - batch_size) / (n - 1)",
                result="trace / batch_size * f / gradients.shape[1]",
            ),
            "add up",
        ),
    ],
    "measured": [
        (MEASURED.format(replace=True, one="off @ off", result="np.mean(found)"), "different"),
        (MEASURED.format(replace=False, one="(off @ off) ** .5", result="np.mean(found)"), "root"),
        (MEASURED.format(replace=False, one="off @ off", result="np.sum(found)"), "not their sum"),
        (
            MEASURED.format(replace=False, one="(off**2).mean()", result="np.mean(found)"),
            "add up",
        ),
        (
            MEASURED.format(replace=False, one="off @ off", result="np.mean(found)").replace(
                "found = []", "found, rng = [], np.random.default_rng(0)"
            ),
            "rng that is handed in",
        ),
    ],
    "noise-scale": [
        (NOISE.format(TRACE, "large", "G, S, S / G"), "contains noise"),
        (NOISE.format(TRACE, SQUARE, "G, S, G / S"), "noise over gradient"),
        (NOISE.format(TRACE, SQUARE, "S, G, G / S"), "which of the two"),
    ],
}
