"""Practice 8: answers that keep their points, and answers that lose those of their task."""

HEAT = "def temperature(lr, batch_size, sigma2, momentum=0.0):\n    return {}\n"
BATCH = "def batch_instead(rate, first, n, progress):\n    k = rate(0) / rate(progress)\n    return {}\n"
SAVED = "import math\ndef saved(n, sizes):\n    updates = [{each} for s in sizes]\n    return {result}\n"
UP = "math.ceil(n / s)"
RATIO = (
    "def exchange(lr, h, k):\n    var = lambda lr, B: lr / (B * h * (2 - lr * h))\n    return {}\n"
)

RIGHT = {
    "temperature": [
        HEAT.format("0.5 * lr * sigma2 / batch_size / (1 - momentum)"),
        "from sgdlib.physics import stationary\n"
        + HEAT.format(
            "float(np.exp(np.log(lr) + np.log(sigma2) - np.log(2 * batch_size * (1 - momentum))))"
        ),
    ],
    "batch": [
        BATCH.format("min(n, int(np.rint(first * k)))"),
        "def batch_instead(rate, first, n, progress):\n    heat = rate(progress) / first\n"
        "    size = round(rate(0) / heat)\n    return n if size > n else size",
    ],
    "updates": [
        SAVED.format(each=UP, result="len(sizes) * updates[0] / sum(updates)"),
        "def saved(n, sizes):\n    sizes = np.array(sizes)\n    u = np.ceil(n / sizes)\n"
        "    return u[0] / u.mean()",
    ],
    "ratio": [
        RATIO.format("var(lr, k) / var(lr / k, 1)"),
        "from sgdlib.physics.annealing import variance_ratio\n"
        "def exchange(lr, h, k):\n    return variance_ratio(lr, h, k)",
    ],
}

# task: (answer, what the hint says)
WRONG = {
    "temperature": [
        (HEAT.format("lr * sigma2 / batch_size / (1 - momentum)"), "twice"),
        (HEAT.format("lr * sigma2 / batch_size / 2"), "momentum counts"),
        (HEAT.format("lr * sigma2 / batch_size / 2 * (1 - momentum)"), "makes it hotter"),
        (HEAT.format("lr * sigma2**2 / batch_size / 2 / (1 - momentum)"), "variance already"),
        (HEAT.format("lr * sigma2 * batch_size / 2 / (1 - momentum)"), "larger batch is colder"),
    ],
    "batch": [
        (BATCH.format("round(first * k)"), "no more than n"),
        (BATCH.format("max(1, round(first / k))"), "cooler"),
        (BATCH.format("min(n, round(first * k ** .5))"), "square root"),
        (BATCH.format("min(n, first * k)"), "whole number"),
        (BATCH.format("min(n, round(first / rate(progress)))"), "at the beginning"),
    ],
    "updates": [
        (
            SAVED.format(each="n // s", result="len(sizes) * updates[0] / sum(updates)"),
            "short last",
        ),
        (SAVED.format(each="n / s", result="len(sizes) * updates[0] / sum(updates)"), "round up"),
        (SAVED.format(each=UP, result="sum(updates) / updates[0] / len(sizes)"), "larger than 1"),
        (SAVED.format(each=UP, result="np.mean(sizes) / sizes[0]"), "add up"),
        (SAVED.format(each=UP, result="updates[0] / sum(updates)"), "as many epochs"),
    ],
    "ratio": [
        (RATIO.format("var(lr / k, 1) / var(lr, k)"), "not rate over batch"),
        (RATIO.format("1.0"), "first order"),
        (RATIO.format("var(lr, 1) / var(lr / k, 1)"), "once"),
        (RATIO.format("var(lr, k) / var(lr / k, 1) / k"), "contain the rate"),
    ],
}
