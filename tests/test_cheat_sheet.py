"""The cheat sheet says what the chapters say: each formula, by its letters and by its numbers.

By its letters: what stands behind the first relation sign is part of the theorem or equation that
the row links to. By its numbers: the sheet's own LaTeX is evaluated and compared with `sgdlib`,
or with a count or an integral where the library has no such function.
"""

import math
import re
from collections import defaultdict
from pathlib import Path

import nbformat
import numpy as np
import pytest
from scipy.integrate import quad

from sgdlib.gradient_noise import batch_gradient_variance
from sgdlib.physics.annealing import variance_ratio
from sgdlib.physics.escape import kramers_time
from sgdlib.physics.langevin import posterior_lr
from sgdlib.physics.stationary import stationary_covariance, temperature
from sgdlib.recommendation import two_batch_noise_scale
from sgdlib.scaling import TimeModel, scale_lr
from sgdlib.stability import minibatch_stability_limit, stability_limit, staleness_stability_limit

ROOT = Path(__file__).resolve().parent.parent
SHEET = (ROOT / "chapters/back/cheat_sheet.md").read_text()
ROW = re.compile(
    r"^\| \[[^]]+\]\{#sheet-(?P<id>[\w-]+)\} \$\\displaystyle (?P<formula>[^|]+)\$ "
    r"\| [^|]+ \| [^|]+ \| (?P<link>[^|]+) \|$",
    re.M,
)
ROWS = {row["id"]: (row["formula"], row["link"]) for row in ROW.finditer(SHEET)}
RELATION = re.compile(r"=|\\approx|\\le(?!ft)|\\ge|<")


def chapters():
    """Return the text of every chapter, by its number."""
    books = defaultdict(list)  # the second page of a chapter belongs to it
    for path in sorted(ROOT.glob("chapters/*/[0-9][0-9]*_*.ipynb")):
        books[int(path.stem[:2])] += nbformat.read(path, 4).cells
    return {
        number: "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        for number, cells in books.items()
    }


CHAPTERS = chapters()


def letters(latex):
    """Drop what changes the look of a formula only."""
    latex = re.sub(
        r"\\begin\{\w+\}|\\end\{\w+\}|\\boxed|\\left|\\right(?!a)|\\[bB]igg?\b", "", latex
    )
    latex = re.sub(r"\\[,;!]|\\qquad|\\q?quad|\\\\|&|[{}\s]", " ", latex)
    return re.sub(r"\s+", "", re.sub(r"\\[dt]frac", r"\\frac", latex)).rstrip(".,")


def derived(text, label):
    """Return the theorem or equation of that label, or the whole text where there is none."""
    if label is None:
        return text
    if label.startswith("eq-"):
        return text[: text.index(f"$$ ({label})")].rpartition("$$")[2]
    box = re.search(rf"^(:+)\{{prf:\w+\}}[^\n]*\n:label: {label}\n(.*?)^\1$", text, re.M | re.S)
    return box[2]


def core(formula):
    """Return what stands behind the last relation, before a further approximation."""
    exact = formula.partition(r"\approx\sqrt")[0].partition(r",\qquad")[0]
    return RELATION.split(exact)[-1]


def says_the_same(formula, place):
    """Whether a formula stands in the place that it comes from."""
    return letters(core(formula)) in letters(place)


def place_of(link):
    """Return the chapter's number and label of a link."""
    label = re.search(r"\{prf:ref\}`\d+ <([\w-]+)>`|\{eq\}`([\w-]+)`", link)
    return int(re.search(r"`(\d+) <", link)[1]), label and (label[1] or label[2])


@pytest.mark.parametrize("row", [r for r in ROWS if place_of(ROWS[r][1])[0] in CHAPTERS])
def test_a_formula_stands_in_the_place_that_it_links_to(row):
    formula, link = ROWS[row]
    number, label = place_of(link)
    assert says_the_same(formula, derived(CHAPTERS[number], label))


def test_every_row_is_read_and_has_an_id_of_its_own():
    assert len(ROWS) == SHEET.count("{#sheet-") == 44


class Reader:
    """Evaluates the LaTeX of a formula: fractions, roots, powers, products without a sign."""

    TOKEN = re.compile(r"\\[a-zA-Z]+|\d+\.\d+|\d|[^\s]")
    SILENT = re.compile(r"\\[,;!]|\\left|\\right(?!a)|\\[bB]igg?(?![a-z])|\\cdot|\\lVert|\\rVert")

    def __init__(self, latex, values):
        latex = latex.replace(r"\operatorname{tr}", "tr").replace(r"\operatorname{Var}", "Var")
        latex = re.sub(r"(tr|Var)\s*\\([A-Za-z]+)", r"\\\1\2", latex)
        latex = re.sub(r"\\Delta L", r"\\DeltaL", latex)
        latex = self.SILENT.sub(" ", re.sub(r"\\[dt]frac", r"\\frac", latex))
        self.tokens, self.values = self.TOKEN.findall(latex), values

    def value(self):
        """Evaluate all of it."""
        result = self.sum()
        assert not self.tokens, self.tokens
        return result

    def next(self):
        return self.tokens[0] if self.tokens else None

    def take(self):
        return self.tokens.pop(0)

    def sum(self):
        sign = -1 if self.next() == "-" and self.take() else 1
        result = sign * self.product()
        while self.next() in ("+", "-"):
            result += self.product() if self.take() == "+" else -self.product()
        return result

    def product(self):
        result = self.power()
        while self.next() not in (None, "+", "-", ")", "}"):
            if self.next() == "/":
                self.take()
                result /= self.power()
            else:
                result *= self.power()
        return result

    def power(self):
        result = self.atom()
        while self.next() == "^":
            self.take()
            result = result ** self.argument()
        return result

    def argument(self):
        """Read a group in braces, or one token: of \\frac12 the first digit only."""
        if self.next() != "{":
            return float(self.take()) if re.fullmatch(r"\d", self.next()) else self.atom()
        self.take()
        result = self.sum()
        assert self.take() == "}"
        return result

    def atom(self):
        token = self.take()
        if token == "(":
            result = self.sum()
            assert self.take() == ")"
            return result
        if token == "\\frac":
            above = self.argument()
            return above / self.argument()
        if token == "\\sqrt":
            return math.sqrt(self.argument())
        if token in ("\\sin", "\\ln"):
            return getattr(math, {"\\ln": "log"}.get(token, token[1:]))(self.power())
        if token == "\\pi":
            return math.pi
        if token == "e":
            return math.e
        if re.fullmatch(r"\d.*", token):
            digits = token
            while "." not in token and self.next() and re.fullmatch(r"\d", self.next()):
                digits += self.take()
            return float(digits)
        return self.values[token.lstrip("\\") + self.subscript()]

    def subscript(self):
        if self.next() != "_":
            return ""
        self.take()
        name = self.take()
        if name == "{":
            end = self.tokens.index("}")
            name = "".join(t for t in self.tokens[:end] if t != "\\rm")
            del self.tokens[: end + 1]
        return "_" + name.lstrip("\\")


def integral_odds(k_1, k_2, D, T):
    """Weigh two parabolas, one of them deeper, by integration."""
    first = quad(lambda z: math.exp(-k_1 * z * z / (2 * T)), -9, 9)[0]
    second = quad(lambda z: math.exp((D - k_2 * z * z / 2) / T), -9, 9)[0]
    return first / second


def intensity(B, p, n, s):
    """Count the operations and bytes of a layer, forward and backward."""
    return 6 * B * p * n / (3 * s * (B * p + B * n + p * n))


def reshuffled(eta, h, M, V):
    """Return the exact variance at epoch ends, for many examples: chapter 3."""
    q = (1 - eta * h) ** M
    return V * (1 - (2 - eta * h) / (eta * h * M) * (1 - q) / (1 + q))


def averaged(sigma2, h, B, T, eta=0.1):
    """Return the exact mean square of the average of T steps from the minimum, by covariances."""
    q = 1 - eta * h
    covariance, total = np.zeros((2, 2)), np.array([[q, 0.0], [1.0, 1.0]])  # theta and its sum
    for _ in range(T):
        covariance = total @ covariance @ total.T
        covariance[0, 0] += eta**2 * sigma2 / B
    return covariance[1, 1] / T**2


def best_heat(sigma, k, n, x_0):
    """Find the least excess over temperatures, on a grid."""
    T = np.linspace(1e-4, 0.2, 400_001)
    return T[np.argmin(k / 2 * x_0**2 * np.exp(-4 * k * T * n / sigma**2) + T / 2)]


K_OF_BATCH = np.array([1.0, 2.0, 5.0])
MODEL = TimeModel(100.0, 5000.0, 0.2, 0.01)
EVEN = TimeModel(100.0, 2000.0, 0.2, 0.01)  # steps and examples cost the same
SIGMA = np.diag([1.0, 2.0, 6.0])
BATCH = {"eta": 0.3, "sigma": 2.0, "B": 4}

# What a formula gives, by its symbols, and what it should be. Where a row holds in a limit the
# values are in that limit, and the tolerance is what is left.
NUMBERS = {
    "error": ({**BATCH, "rho": 0.1}, lambda: batch_gradient_variance(4.0, 4, rho=0.1)),
    "subset": ({**BATCH, "N": 50}, lambda: batch_gradient_variance(4.0, 4, n=50)),
    "stable": ({"L": 3.0}, lambda: stability_limit(3.0)),
    "stable-heavy": ({"L": 3.0, "beta": 0.9}, lambda: stability_limit(3.0, momentum=0.9)),
    "stable-batch": (
        {"k": K_OF_BATCH.mean(), "V": K_OF_BATCH.var()},
        lambda: minibatch_stability_limit(K_OF_BATCH[:, None, None], 1, replacement=True),
    ),
    "momentum": (
        {"eta": 0.1, "beta": 0.9},
        lambda: 0.1 * temperature(0.1, 1, 1.0, momentum=0.9) / temperature(0.1, 1, 1.0),
    ),
    "linear": ({"k": 8, "eta": 0.1}, lambda: scale_lr(0.1, 32, 256)),
    "root": ({"k": 8, "eta": 0.1}, lambda: scale_lr(0.1, 32, 256, rule="sqrt")),
    "stale": ({"h": 2.0, "tau": 7}, lambda: staleness_stability_limit(7, curvature=2.0)),
    "ball": ({**BATCH, "k": 2.0}, lambda: stationary_covariance(2.0, 4.0, lr=0.3, batch_size=4)),
    "excess": (
        {**BATCH, "k": 2.0},
        lambda: 2.0 / 2 * stationary_covariance(2.0, 4.0, lr=0.3, batch_size=4),
    ),
    "reshuffled": (
        {"eta": 1e-4, "h": 1.0, "M": 300, "V_infty": 5.0},
        lambda: reshuffled(1e-4, 1.0, 300, 5.0),
        1e-3,
    ),
    "average": ({**BATCH, "h": 1.0, "T": 20_000}, lambda: averaged(4.0, 1.0, 4, 20_000), 2e-3),
    "best": (
        {"C": 5000.0, "N_it": 100.0, "tau_f": 0.2, "tau_d": 0.01},
        lambda: MODEL.optimal_batch_size(),
    ),
    "off": (
        {"x": 2.0},
        lambda: EVEN.time(2 * EVEN.optimal_batch_size()) / EVEN.time(EVEN.optimal_batch_size()),
    ),
    "two-batches": (
        {"b": 8, "B": 64, "g_b": 3.0, "g_B": 2.0},
        lambda: two_batch_noise_scale({8: 9.0, 64: 4.0}) * (64 * 4.0 - 8 * 9.0) / 56,
    ),
    "pieces": (
        {"C": 5000.0, "N_it": 100.0, "m": 5, "tau_u": 0.2, "tau_m": 0.05},
        lambda: TimeModel(100.0, 5000.0 / 5, 0.2, 0.05).optimal_batch_size(),
    ),
    "slowest": ({"n": 1000}, lambda: sum(1 / i for i in range(1, 1001)), 1e-3),
    "temperature": (BATCH, lambda: temperature(0.3, 4, 4.0)),
    "cloud": (
        {"T": temperature(0.3, 4, 4.0), "eta": 0.3, "k": 2.0},
        lambda: 2.0 * stationary_covariance(2.0, 4.0, lr=0.3, batch_size=4),
    ),
    "valleys": (
        {"k_1": 1.0, "k_2": 9.0, "D": 0.2, "T": 0.1},
        lambda: integral_odds(1.0, 9.0, 0.2, 0.1),
    ),
    "hold": (
        {"h": K_OF_BATCH.mean(), "s_h": K_OF_BATCH.std(), "N": 3, "B": 2},
        lambda: minibatch_stability_limit(K_OF_BATCH[:, None, None], 2),
    ),
    "escape": (
        {"k_a": 2.0, "k_b": 1.5, "DeltaL": 0.25, "T": 0.05},
        lambda: kramers_time(0.25, 2.0, -1.5, temperature=0.05, to="well"),
    ),
    "knobs": ({"eta": 0.5, "h": 1.0, "k": 5}, lambda: variance_ratio(0.5, 1.0, 5)),
    "posterior": (
        {"B": 4, "d": 3, "N": 500, "trSigma": SIGMA.trace()},
        lambda: posterior_lr(SIGMA, n=500, batch_size=4),
    ),
    "sgld": (
        {"T": 0.01, "eta": 0.1, "sigma_i": 2.0, "B": 4, "h_i": 3.0},
        lambda: stationary_covariance(3.0, 4.0 + 2 * 0.01 * 4 / 0.1, lr=0.1, batch_size=4),
    ),
    "budget": (
        {"sigma": 3.0, "k": 0.5, "n": 1000, "x_0": 2.0},
        lambda: best_heat(3.0, 0.5, 1000, 2.0),
        1e-3,
    ),
    "hidden": ({"s": 2, "A": 3e14, "W": 1e10}, lambda: 2 * 2 / 1e10 / (4 / 3e14)),
}


def agrees(row, formula):
    """Whether a formula, put into numbers, gives what it should."""
    values, expected, *tolerance = NUMBERS[row]
    approximate = formula.partition(r"\approx")
    said = approximate[2] if row in ("slowest", "average") else core(formula)
    return math.isclose(Reader(said, values).value(), expected(), rel_tol=(*tolerance, 1e-9)[0])


@pytest.mark.parametrize("row", NUMBERS)
def test_a_formula_gives_the_numbers_that_it_should(row):
    assert agrees(row, ROWS[row][0])


def test_at_the_full_device_a_layer_has_the_intensity_of_the_device():
    values = {"D": 1.5e12, "s": 2, "A": 3e14, "p": 4096, "n": 1024}
    B = Reader(core(ROWS["device"][0]).replace("^{-1}", ""), values).value() ** -1
    assert math.isclose(intensity(B, 4096, 1024, 2), 3e14 / 1.5e12)


# A printer's slips: a factor of two, a root lost, a sign turned, a letter taken for another.
SLIPS = {
    "ball": (r"(2-\eta k)", r"(1-\eta k)"),
    "temperature": ("{2B}", "{B}"),
    "escape": (r"\Delta L/T", r"2\Delta L/T"),
    "best": (r"C\,\tau_f", r"2C\,\tau_f"),
    "posterior": (r"2\,B", "B"),
    "stale": (r"2(2\tau+1)", r"2\tau+1"),
    "knobs": ("h/k", "h"),
    "stable-heavy": (r"1+\beta", r"1-\beta"),
    "two-batches": ("1/b-1/B", "1/B-1/b"),
    "valleys": (r"\frac{k_2}{k_1}", r"\frac{k_1}{k_2}"),
    "reshuffled": ("12", "6"),
    "budget": ("4kn", "2kn"),
}


@pytest.mark.parametrize("row", SLIPS)
def test_a_slip_is_found_by_its_letters_and_by_its_numbers(row):
    formula, link = ROWS[row]
    right, wrong = SLIPS[row]
    slip = formula.replace(right, wrong, 1)
    assert slip != formula
    number, label = place_of(link)
    assert not says_the_same(slip, derived(CHAPTERS[number], label))
    assert not agrees(row, slip)
