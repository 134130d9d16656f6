"""Practice 4: answers that keep their points, and answers that lose those of their task."""

FITS = "def largest_batch(total, fixed, bytes_at, batch):\n    return {}\n"
PIECES = (
    "def accumulate(model, X, y, piece):\n    {before}\n    K = -(-len(X) // piece)\n"
    "    for k in range(0, len(X), piece):\n        {inside}\n"
    "        out = cross_entropy(model(X[k:k + piece]), y[k:k + piece])\n        ({loss}).backward()\n"
)
EPOCH = (
    "def accumulated_epoch(model, optimizer, pieces, k):\n    steps = 0\n"
    "    optimizer.zero_grad()\n    for i, (a, b) in enumerate(pieces):\n"
    "        size = {size}\n        (cross_entropy(model(a), b).mean() / size).backward()\n"
    "        if {due}:\n            optimizer.step()\n            {clear}\n            steps += 1\n"
    "    return steps\n"
)
GROUP = "min(k, len(pieces) - i // k * k)"
DUE = "(i + 1) % k == 0 or i + 1 == len(pieces)"
CLEAR = "optimizer.zero_grad()"
GHOST = "def ghost_factor(m, B):\n    return {}\n"

RIGHT = {
    "fits": [
        FITS.format("max(0, int(np.floor((total - fixed) * batch / (bytes_at - fixed))))"),
        "def largest_batch(total, fixed, bytes_at, batch):\n    b = 0\n"
        "    while fixed + (bytes_at - fixed) / batch * (b + 1) <= total:\n        b += 1\n    return b",
    ],
    "pieces": [
        PIECES.format(before="model.zero_grad()", inside="", loss="out.mean() * len(out) / len(X)"),
        "from sgdlib.deep import accumulate_gradients\n"
        "def accumulate(model, X, y, piece):\n    model.zero_grad()\n"
        "    accumulate_gradients(model, cross_entropy, (X, y), micro_batch_size=piece)",
        "def accumulate(model, X, y, piece):\n    for p in model.parameters():\n        p.grad = None\n"
        "    for a, b in zip(X.split(piece), y.split(piece)):\n"
        "        loss = torch.nn.functional.cross_entropy(model(a), b, reduction='sum')\n"
        "        loss.backward()\n    for p in model.parameters():\n        p.grad /= len(X)",
    ],
    "epoch": [
        EPOCH.format(size=GROUP, due=DUE, clear=CLEAR),
        "def accumulated_epoch(model, optimizer, pieces, k):\n    pieces, steps = list(pieces), 0\n"
        "    while pieces:\n        group, pieces = pieces[:k], pieces[k:]\n"
        "        optimizer.zero_grad()\n"
        "        losses = [cross_entropy(model(a), b).mean() for a, b in group]\n"
        "        torch.stack(losses).mean().backward()\n        optimizer.step()\n        steps += 1\n"
        "    return steps",
    ],
    "ghost": [
        GHOST.format("(m - 1) / m * B / (B - 1)"),
        "from fractions import Fraction\n"
        + GHOST.format("float(Fraction(m - 1, m) / Fraction(B - 1, B))"),
    ],
}

# task: (answer, what the hint says)
WRONG = {
    "fits": [
        (FITS.format("int(total // (bytes_at / batch))"), "not all of the memory"),
        (FITS.format("int(total // ((bytes_at - fixed) / batch))"), "needed once"),
        (FITS.format("(total - fixed) * batch / (bytes_at - fixed)"), "whole number"),
        (FITS.format("int(np.ceil((total - fixed) * batch / (bytes_at - fixed)))"), "round down"),
    ],
    "pieces": [
        (
            PIECES.format(before="model.zero_grad()", inside="", loss="out.mean() / K"),
            "mean of means",
        ),
        (PIECES.format(before="model.zero_grad()", inside="", loss="out.sum()"), "not the sum"),
        (PIECES.format(before="pass", inside="", loss="out.sum() / len(X)"), "stored before"),
        (
            PIECES.format(before="pass", inside="model.zero_grad()", loss="out.sum() / len(X)"),
            "do not zero",
        ),
        (
            "def accumulate(model, X, y, piece):\n    model.zero_grad()\n"
            "    cross_entropy(model(X), y).mean().backward()",
            "more examples than allowed",
        ),
    ],
    "epoch": [
        (EPOCH.format(size="k", due=DUE, clear=CLEAR), "divide by how many"),
        (EPOCH.format(size=GROUP, due="(i + 1) % k == 0", clear=CLEAR), "makes a step too"),
        (EPOCH.format(size=GROUP, due=DUE, clear="pass"), "clear the gradient"),
        (EPOCH.format(size="1", due=DUE, clear=CLEAR), "not the sum"),
        (EPOCH.format(size="1", due="True", clear=CLEAR), "not each piece"),
    ],
    "ghost": [
        (GHOST.format("1 - 1 / m"), "bias of its own"),
        (GHOST.format("(1 - 1 / B) / (1 - 1 / m)"), "less variance"),
        (GHOST.format("((1 - 1 / m) / (1 - 1 / B)) ** .5"), "standard deviation"),
    ],
}
