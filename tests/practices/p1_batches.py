"""Practice 1: answers that keep their points, and answers that lose those of their task."""

RIGHT = {
    "updates": [
        "import math\ndef updates(n, batch_size, epochs):\n    return epochs * math.ceil(n / batch_size)",
        "def updates(n, batch_size, epochs):\n    return sum(1 for _ in range(epochs) for _ in range(0, n, batch_size))",
    ],
    "epoch-batches": [
        "def epoch_batches(n, batch_size, rng):\n"
        "    order = np.arange(n)\n    rng.shuffle(order)\n"
        "    return np.split(order, range(batch_size, n, batch_size))",
        "def epoch_batches(n, batch_size, rng):\n"
        "    left = list(rng.permutation(n))\n    out = []\n"
        "    while left:\n        out.append(np.array(left[:batch_size]))\n        left = left[batch_size:]\n"
        "    return out",
        "from sgdlib import batches\ndef epoch_batches(n, batch_size, rng):\n"
        "    return [b.indices for b in batches(n, batch_size, rng=rng)]",
    ],
    "epoch-loss": [
        "def epoch_loss(losses, sizes):\n    total = 0\n    for a, b in zip(losses, sizes):\n"
        "        total += a * b\n    return total / sum(sizes)",
    ],
    "train": [
        "def train(X, y, lr, batch_size, epochs, rng):\n    theta = np.zeros(X.shape[1])\n"
        "    for e in range(epochs):\n        for b in epoch_batches(len(X), batch_size, rng):\n"
        "            g = np.zeros(X.shape[1])\n            for i in b:\n"
        "                g += (X[i] @ theta - y[i]) * X[i] / batch_size\n            theta -= lr * g\n"
        "    return theta",
    ],
}

LOOP = (
    "def train(X, y, lr, batch_size, epochs, rng):\n    theta = np.zeros(X.shape[1])\n"
    "    for _ in range({epochs}):\n        for b in epoch_batches(len(X), batch_size, rng):\n"
    "            theta = theta - lr * (X[b] @ theta - y[b]) @ X[b] {how}\n    return theta"
)

# task: (answer, what the hint says)
WRONG = {
    "updates": [
        ("def updates(n, batch_size, epochs):\n    return epochs * (n // batch_size)", "round up"),
        ("def updates(n, batch_size, epochs):\n    return -(-n // batch_size)", "one epoch"),
        (
            "def updates(n, batch_size, epochs):\n    return -(-epochs * n // batch_size)",
            "not once",
        ),
        ("def updates(n, batch_size, epochs):\n    return epochs * n / batch_size", "whole"),
    ],
    "epoch-batches": [
        (
            "def epoch_batches(n, batch_size, rng):\n    order = rng.permutation(n)\n"
            "    return [order[k * batch_size:(k + 1) * batch_size] for k in range(n // batch_size)]",
            "short batch belongs",
        ),
        (
            "def epoch_batches(n, batch_size, rng):\n    order = np.arange(n)\n"
            "    return [order[k:k + batch_size] for k in range(0, n, batch_size)]",
            "order is that of the file",
        ),
        (
            "def epoch_batches(n, batch_size, rng):\n    order = rng.integers(0, n, n)\n"
            "    return [order[k:k + batch_size] for k in range(0, n, batch_size)]",
            "missing or come twice",
        ),
        (
            "def epoch_batches(n, batch_size, rng):\n"
            "    order = np.random.default_rng(0).permutation(n)\n"
            "    return [order[k:k + batch_size] for k in range(0, n, batch_size)]",
            "one order",
        ),
    ],
    "epoch-loss": [
        ("def epoch_loss(losses, sizes):\n    return np.mean(losses)", "mean of means"),
        ("def epoch_loss(losses, sizes):\n    return np.dot(losses, sizes)", "number of examples"),
        ("def epoch_loss(losses, sizes):\n    return np.sum(losses) / np.sum(sizes)", "multiplied"),
    ],
    "train": [
        (LOOP.format(epochs="epochs", how="/ len(b)"), "short batch by the batch size"),
        (LOOP.format(epochs="epochs", how=""), "mean, not sum"),
        (LOOP.format(epochs="epochs", how="/ len(X)"), "not by the number of examples"),
        (LOOP.format(epochs="1", how="/ batch_size"), "one epoch"),
        (LOOP.format(epochs="epochs", how="/ -batch_size"), "downhill"),
    ],
}
