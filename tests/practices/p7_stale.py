"""Practice 7: answers that keep their points, and answers that lose those of their task."""

STALE = (
    "def staleness(log):\n    read, out = {{}}, []\n    for t, w in enumerate(log):\n"
    "        out.append(t - read.get(w, {first}){own})\n        {again}\n    return out\n"
)
AGAIN = "read[w] = t + 1"
RUN = (
    "def delayed_run(x0, h, lr, delay, steps):\n    x = [x0] * (delay + 1)\n"
    "    for t in range(steps):\n        x.append({base} - lr * h * {old})\n    return x[delay:]\n"
)
LIMIT = (
    "def delay_limits(h, delay, lr):\n    f = lambda tau: {}\n    tau = {}\n"
    "    while lr < f(tau + 1):\n        tau += 1\n    return f(delay), tau{}\n"
)
SINE = "2 * np.sin(np.pi / (4 * tau + 2)) / h"
WAIT = (
    "def gain_by_backups(workers, backups):\n    H = lambda n: np.sum(1 / np.arange(1, n + 1))\n"
    "    alone, helped = H(workers), {}\n    return {}\n"
)
HELPED = "H(workers + backups) - H(backups)"

RIGHT = {
    "staleness": [
        STALE.format(first=0, own="", again=AGAIN),
        "def staleness(log):\n    log, out = list(log), []\n    for t, w in enumerate(log):\n"
        "        k = t\n        while k > 0 and log[k - 1] != w:\n            k -= 1\n"
        "        out.append(t - k)\n    return out",
    ],
    "run": [
        RUN.format(base="x[-1]", old="x[t]"),
        "from collections import deque\ndef delayed_run(x0, h, lr, delay, steps):\n"
        "    past, out = deque([x0] * (delay + 1), maxlen=delay + 1), [x0]\n    for _ in range(steps):\n"
        "        past.append(past[-1] - lr * h * past[0])\n        out.append(past[-1])\n"
        "    return np.array(out)",
    ],
    "limit": [
        LIMIT.format(SINE, "-1", ""),
        "import math\ndef delay_limits(h, delay, lr):\n"
        "    rate = 2 / h * math.sin(math.pi / (2 * (2 * delay + 1)))\n    if lr * h >= 2:\n"
        "        return rate, -1\n    exact = (math.pi / (2 * math.asin(lr * h / 2)) - 1) / 2\n"
        "    return rate, math.ceil(exact) - 1",
    ],
    "wait": [
        WAIT.format(HELPED, "alone / helped"),
        "from scipy.special import digamma as p\ndef gain_by_backups(k, b):\n"
        "    return (p(k + 1) - p(1)) / (p(k + b + 1) - p(b + 1))",
    ],
}

# task: (answer, what the hint says)
WRONG = {
    "staleness": [
        (STALE.format(first=0, own=" + 1", again=AGAIN), "its own update"),
        (STALE.format(first=0, own="", again="pass"), "reads again"),
        (STALE.format(first="t", own="", again=AGAIN), "at the beginning"),
        ("def staleness(log):\n    return [len(set(log)) - 1] * len(log)", "of its own"),
    ],
    "run": [
        (RUN.format(base="x[-1]", old="x[-1]"), "old parameters"),
        (RUN.format(base="x[t]", old="x[t]"), "newest"),
        (RUN.format(base="x[-1]", old="x[max(t - 1, 0)]"), "too old"),
        (RUN.format(base="x[-1]", old="(x[t] if t >= delay else 0.0)"), "before the start"),
    ],
    "limit": [
        (LIMIT.format(SINE, "-1", "").replace("f(delay)", "2 / h"), "without delay"),
        (LIMIT.format("np.pi / (2 * tau + 1) / h", "-1", ""), "sine"),
        (LIMIT.format(SINE, "-1", " + 1"), "one less"),
        (LIMIT.format(SINE, "0", ""), "count from 0"),
    ],
    "wait": [
        (WAIT.format(HELPED, "helped / alone"), "over with"),
        (WAIT.format("H(workers + backups)", "alone / helped"), "not all n"),
        (WAIT.format(HELPED, "alone - helped"), "not their difference"),
    ],
}
