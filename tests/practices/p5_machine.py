"""Practice 5: answers that keep their points, and answers that lose those of their task."""

CLOCK = (
    "def seconds(function, clock, warmup, repeats):\n    for _ in range({warmup}):\n        function()\n"
    "    times = []\n    for _ in range({repeats}):\n        start = clock()\n        function()\n"
    "        times.append(clock() - start)\n    return np.{how}(times)\n"
)
FIT = (
    "def fit_step_time(batch_sizes, times):\n    b, t = np.array(batch_sizes, float), np.array(times)\n"
    "    slope, start = np.polyfit(b, t, 1{weights})\n    return {result}\n"
)
STEPS = "def fit_steps(b1, steps1, b2, steps2):\n    C = {C}\n    N = {N}\n    return {result}\n"
CONSTANT = "(steps1 - steps2) / (1 / b1 - 1 / b2)"
BEST = "def best_batch_size(N_iter, C, overhead, per_example):\n    return {}\n"
PRICE = (
    "def price(b, N_iter, C, overhead, per_example):\n"
    "    best = best_batch_size(N_iter, C, overhead, per_example)\n"
    "    T = lambda b: {T}\n    return {result}\n"
)
TIME = "(N_iter + C / b) * (overhead + per_example * b)"

RIGHT = {
    "clock": [
        CLOCK.format(warmup="warmup", repeats="repeats", how="median"),
        "import statistics\ndef seconds(function, clock, warmup, repeats):\n    ticks = []\n"
        "    for _ in range(warmup + repeats):\n        a = clock()\n        function()\n"
        "        ticks.append(clock() - a)\n    return statistics.median(ticks[warmup:])",
    ],
    "step-time": [
        FIT.format(weights=", w=1 / t", result="(start, slope)"),
        "def fit_step_time(batch_sizes, times):\n    b, t = np.array(batch_sizes, float), np.array(times)\n"
        "    A = np.array([[np.sum(1 / t**2), np.sum(b / t**2)], [np.sum(b / t**2), np.sum(b * b / t**2)]])\n"
        "    return np.linalg.solve(A, [np.sum(1 / t), np.sum(b / t)])",
        "from scipy.optimize import curve_fit\ndef fit_step_time(batch_sizes, times):\n"
        "    b, t = np.array(batch_sizes, float), np.array(times)\n"
        "    return curve_fit(lambda b, f, d: f + d * b, b, t, p0=[t[0], t[-1] / b[-1]], sigma=t,\n"
        "                     ftol=1e-12, xtol=1e-12)[0]",
    ],
    "steps": [
        STEPS.format(C=CONSTANT, N="steps2 - C / b2", result="N, C"),
        "def fit_steps(b1, steps1, b2, steps2):\n"
        "    return np.linalg.solve([[1, 1 / b1], [1, 1 / b2]], [steps1, steps2])",
    ],
    "best": [
        BEST.format("(C / N_iter) ** .5 * (overhead / per_example) ** .5"),
        "from scipy.optimize import minimize_scalar\n"
        + BEST.format(
            "np.exp(minimize_scalar(lambda z: np.log((N_iter + C / np.exp(z)) * (overhead + "
            "per_example * np.exp(z))), bracket=(0, 5), tol=1e-10).x)"
        ),
    ],
    "price": [
        PRICE.format(T=TIME, result="T(b) / T(best)"),
        "def price(b, N_iter, C, overhead, per_example):\n"
        "    least = ((N_iter * overhead) ** .5 + (C * per_example) ** .5) ** 2\n"
        "    return (N_iter + C / b) * (overhead + per_example * b) / least",
    ],
}

# task: (answer, what the hint says)
WRONG = {
    "clock": [
        (CLOCK.format(warmup="warmup", repeats="repeats", how="mean"), "the median"),
        (CLOCK.format(warmup="0", repeats="warmup + repeats", how="median"), "does not count"),
        (CLOCK.format(warmup="warmup", repeats="repeats", how="sum"), "not of all"),
        (CLOCK.format(warmup="warmup", repeats="repeats", how="min"), "fastest"),
    ],
    "step-time": [
        (FIT.format(weights="", result="(start, slope)"), "relative errors"),
        (FIT.format(weights=", w=1 / t", result="(slope, start)"), "first the overhead"),
        (
            "def fit_step_time(batch_sizes, times):\n"
            "    return np.polyfit(np.log(batch_sizes), np.log(times), 1)[::-1]",
            "logarithms",
        ),
    ],
    "steps": [
        (
            STEPS.format(C="(steps1 - steps2) / (b1 - b2)", N="steps1 - C * b1", result="N, C"),
            "1/b",
        ),
        (STEPS.format(C=CONSTANT, N="steps1 - C / b1", result="C, N"), "first N_iter"),
        (STEPS.format(C=CONSTANT, N="steps1 - C", result="N, C"), "not C"),
    ],
    "best": [
        (BEST.format("C * overhead / (N_iter * per_example)"), "square root"),
        (BEST.format("(C * per_example / (N_iter * overhead)) ** .5"), "more overhead"),
        (BEST.format("C / N_iter"), "critical batch size"),
        (BEST.format("overhead / per_example"), "machine's half"),
    ],
    "price": [
        (PRICE.format(T=TIME, result="T(best) / T(b)"), "larger than 1"),
        (PRICE.format(T=TIME, result="T(b) / T(best) - 1"), "without subtracting"),
        (PRICE.format(T="N_iter + C / b", result="T(b) / T(best)"), "steps times seconds"),
        (
            PRICE.format(T="overhead + per_example * b", result="T(b) / T(best)"),
            "seconds of a step times steps",
        ),
    ],
}
