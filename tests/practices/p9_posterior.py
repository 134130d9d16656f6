"""Practice 9: answers that keep their points, and answers that lose those of their task."""

POSTERIOR = (
    "def posterior(X, y, precision):\n    d = X.shape[1]\n    P = X.T @ X + {prior} * np.eye(d)\n"
    "    S = np.linalg.inv(P)\n    return {mean}, {covariance}\n"
)
RATE = (
    "def posterior_rate(gradients, batch_size):\n    n, d = gradients.shape\n"
    "    trace = {trace}\n    return {result}\n"
)
TRACE = "np.trace(np.cov(gradients.T, bias=True).reshape(d, d))"
STEP = (
    "def langevin_step(theta, gradient, lr, n, rng):\n    xi = rng.standard_normal(theta.shape)\n"
    "    return theta {sign} lr * gradient(theta) + {noise} * xi\n"
)
SCORE = (
    "def log_score(thetas, X_new, y_new):\n    v = thetas @ X_new.T\n    m, s2 = v.mean(0), {variance}\n"
    "    d = -np.log(2 * np.pi * s2) / 2 - (y_new - m) ** 2 / 2 / s2\n    return {result}\n"
)

RIGHT = {
    "posterior": [
        POSTERIOR.format(prior="precision", mean="S @ (X.T @ y)", covariance="S"),
        "def posterior(X, y, precision):\n    d = X.shape[1]\n"
        "    A = np.vstack([X, np.sqrt(precision) * np.eye(d)])\n"
        "    b = np.concatenate([y, np.zeros(d)])\n    q, r = np.linalg.qr(A)\n"
        "    inv = np.linalg.inv(r)\n    return inv @ q.T @ b, inv @ inv.T",
    ],
    "rate": [
        RATE.format(trace=TRACE, result="2 * batch_size * d / (n * trace)"),
        "def posterior_rate(gradients, batch_size):\n"
        "    off = gradients - gradients.mean(axis=0)\n"
        "    return 2 * batch_size * gradients.shape[1] / (off ** 2).sum()",
    ],
    "step": [
        STEP.format(sign="-", noise="(2 * lr / n) ** .5"),
        "def langevin_step(theta, gradient, lr, n, rng):\n    T = 1 / n\n    out = theta.copy()\n"
        "    out -= lr * gradient(theta)\n"
        "    out += (2 * lr * T) ** .5 * rng.standard_normal(theta.shape)\n    return out",
    ],
    "score": [
        SCORE.format(variance="v.var(0) + 1", result="d.mean()"),
        "from scipy.stats import norm\ndef log_score(thetas, X_new, y_new):\n    out = []\n"
        "    for x, y in zip(X_new, y_new):\n        values = [x @ t for t in thetas]\n"
        "        out.append(norm.logpdf(y, np.mean(values), np.sqrt(np.var(values) + 1)))\n"
        "    return sum(out) / len(out)",
    ],
}

# task: (answer, what the hint says)
WRONG = {
    "posterior": [
        (POSTERIOR.format(prior="1e-9", mean="S @ X.T @ y", covariance="S"), "pulls towards 0"),
        (POSTERIOR.format(prior="precision", mean="S @ X.T @ y", covariance="P"), "invert"),
        (POSTERIOR.format(prior="len(X) * precision", mean="S @ X.T @ y", covariance="S"), "once"),
        (
            POSTERIOR.format(prior="precision", mean="S @ X.T @ y", covariance="len(X) * S"),
            "do not divide",
        ),
    ],
    "rate": [
        (RATE.format(trace=TRACE, result="batch_size * d / (n * trace)"), "off by 2"),
        (RATE.format(trace=TRACE, result="2 * batch_size * d / trace"), "N times as narrow"),
        (RATE.format(trace=TRACE, result="2 * batch_size / (n * trace)"), "number of parameters"),
        (RATE.format(trace=TRACE, result="2 * d / (n * trace)"), "larger batch is colder"),
        (
            RATE.format(
                trace="(gradients**2).sum() / n", result="2 * batch_size * d / (n * trace)"
            ),
            "around the mean",
        ),
        (
            RATE.format(
                trace="gradients.var(0, ddof=1).sum()", result="2 * batch_size * d / (n * trace)"
            ),
            "divisor N",
        ),
    ],
    "step": [
        (STEP.format(sign="-", noise="0"), "gradient descent"),
        (STEP.format(sign="-", noise="(2 * lr) ** .5"), "1/n"),
        (STEP.format(sign="-", noise="(lr / n) ** .5"), "off by 2"),
        (STEP.format(sign="-", noise="2 * lr / n"), "root of the rate"),
        (STEP.format(sign="+", noise="(2 * lr / n) ** .5"), "downhill"),
    ],
    "score": [
        (SCORE.format(variance="v.var(0)", result="d.mean()"), "of a reading is added"),
        (SCORE.format(variance="1.0", result="d.mean()"), "the lines differ"),
        (SCORE.format(variance="v.var(0) + 1", result="d.sum()"), "not the sum"),
        (SCORE.format(variance="v.var(0) + 1", result="-d.mean()"), "not its negative"),
    ],
}
