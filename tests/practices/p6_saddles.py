"""Practice 6: answers that keep their points, and answers that lose those of their task."""

MOMENT = (
    "def second_moment(t, lr, strength, sigma, batch_size):\n    q = {q}\n    noise = {noise}\n"
    "    return noise * sum(q ** ({power} * j) for j in range(t))\n"
)
NOISE = "lr**2 * sigma**2 / batch_size"
STEPS = (
    "def escape_steps(R, lr, strength, sigma, batch_size):\n    t = 0\n"
    "    while second_moment(t, lr, strength, sigma, batch_size) < {goal}:\n        t += 1\n"
    "    return {result}\n"
)
CLOSED = (
    "def escape_steps(R, lr, strength, sigma, batch_size):\n    q = 1 + lr * strength\n"
    "    t = np.log(1 + R**2 * (q**2 - 1) * batch_size / (lr * sigma)**2) / (2 * np.log(q))\n"
    "    return {}\n"
)
SPREAD = (
    "def spread(lr, curvature, sigma, batch_size):\n    k = curvature\n    v = {}\n    return {}\n"
)
EXACT = "lr * sigma**2 / (batch_size * k * (2 - lr * k))"
GROWTH = (
    "def growth(lr, a, s, N, batch_size):\n    B = batch_size\n    return (1 - lr * a) ** 2 + {}\n"
)

RIGHT = {
    "moment": [
        MOMENT.format(q="1 + lr * strength", noise=NOISE, power=2),
        "def second_moment(t, lr, strength, sigma, batch_size):\n    m = 0.0\n"
        "    for _ in range(t):\n        m = (1 + lr * strength) ** 2 * m + (lr * sigma) ** 2 / batch_size\n"
        "    return m",
    ],
    "steps": [
        STEPS.format(goal="R * R", result="t"),
        CLOSED.format("int(np.ceil(t))"),
    ],
    "spread": [
        SPREAD.format(EXACT, "[v, k * v / 2]"),
        "def spread(lr, curvature, sigma, batch_size):\n    v = 0.0\n    for _ in range(20000):\n"
        "        v = (1 - lr * curvature) ** 2 * v + lr**2 * sigma**2 / batch_size\n"
        "    return np.array([v, curvature * v / 2])",
        "from sgdlib.physics.stationary import stationary_covariance\n"
        "def spread(lr, curvature, sigma, batch_size):\n"
        "    v = stationary_covariance([[curvature]], [[sigma**2]], lr=lr, batch_size=batch_size)\n"
        "    v = float(np.asarray(v).ravel()[0])\n    return v, curvature * v / 2",
    ],
    "evicted": [
        GROWTH.format("lr**2 * s**2 / B * (N - B) / (N - 1)"),
        "def growth(lr, a, s, N, batch_size):\n    B = batch_size\n"
        "    S2 = s**2 * N / (N - 1)\n    mean_square = a**2 + S2 / B * (1 - B / N)\n"
        "    return 1 - 2 * lr * a + lr**2 * mean_square",
    ],
}

# task: (answer, what the hint says)
WRONG = {
    "moment": [
        (MOMENT.format(q="1 - lr * strength", noise=NOISE, power=2), "leads away"),
        (MOMENT.format(q="1 + lr * strength", noise="lr**2 * sigma**2", power=2), "batch size"),
        (
            MOMENT.format(q="1 + lr * strength", noise="lr**2 * sigma / batch_size", power=2),
            "square",
        ),
        (MOMENT.format(q="1 + lr * strength", noise=NOISE, power=1), "q squared"),
        (MOMENT.format(q="1", noise=NOISE, power=1), "grows along"),
    ],
    "steps": [
        (STEPS.format(goal="R", result="t"), "R squared"),
        (STEPS.format(goal="R**2", result="t - 1"), "not the last before"),
        (CLOSED.format("t"), "round up"),
    ],
    "spread": [
        (SPREAD.format("lr * sigma**2 / (2 * batch_size * k)", "(v, k * v / 2)"), "small rates"),
        (SPREAD.format(EXACT, "(v, k * v)"), "over 2"),
        (
            SPREAD.format(EXACT.replace("batch_size * ", ""), "(v, k * v / 2)"),
            "divide the variance",
        ),
        (SPREAD.format(EXACT, "(v**.5, k * v**.5 / 2)"), "not the deviation"),
        (SPREAD.format(EXACT.replace("**2", ""), "(v, k * v / 2)"), "its square"),
    ],
    "evicted": [
        (GROWTH.format("0"), "fluctuates"),
        (GROWTH.format("lr**2 * s**2 / B"), "different examples"),
        (GROWTH.format("lr**2 * s / B * (N - B) / (N - 1)"), "its square"),
        (GROWTH.format("lr * s**2 / B * (N - B) / (N - 1)"), "lr comes squared"),
    ],
}
