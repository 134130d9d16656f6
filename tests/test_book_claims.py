"""Claims: each rule holds and fails where it should, and the text is the same on every machine."""

import html
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdlib.book import ClaimError, claim, claims, quote

FIELDS = {"text", "kind", "target", "measured", "tolerance", "notices", "coarse"}


@pytest.fixture
def outputs(monkeypatch):
    out = []
    monkeypatch.setattr(claims, "display", lambda data, raw, metadata=None: out.append(data))
    return out


def record(output):
    data = re.search(r'<p class="claim" data-claim="([^"]*)">', output["text/html"])[1]
    return json.loads(html.unescape(data))


# rule, a value that holds, a value just outside
RULES = [
    ({"expected": 2.0, "stderr": 0.1}, 2.39, 2.41),
    ({"expected": 2.0, "stderr": 0.1, "sigmas": 2}, 1.81, 1.79),
    ({"expected": 2.0, "rel_tol": 0.05}, 2.09, 2.11),
    ({"expected": -2.0, "rel_tol": 0.05}, -2.09, -2.11),
    ({"expected": 2.0, "abs_tol": 0.3}, 1.71, 1.69),
    ({"expected": 7, "abs_tol": 0}, 7, 8),
    ({"below": 2.0}, 1.99, 2.0),
    ({"above": 2.0}, 2.01, 2.0),
    ({"above": 1.0, "below": 2.0}, 1.5, 0.9),
    ({"above": 1.0, "below": 2.0}, 1.5, 2.1),
    ({"below": 2.0, "stderr": 0.1}, 1.59, 1.61),
    ({"above": 2.0, "stderr": 0.1, "sigmas": 1}, 2.11, 2.09),
]


@pytest.mark.parametrize(("rule", "good", "bad"), RULES)
def test_each_rule_holds_inside_and_fails_outside(rule, good, bad, outputs):
    claim("x is as said", measured=good, **rule)
    assert len(outputs) == 1
    with pytest.raises(ClaimError, match=r"x is as said: measured .*; fails"):
        claim("x is as said", measured=bad, **rule)
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "no rule"),
        ({"stderr": 0.1}, "no rule"),
        ({"rel_tol": 0.1}, "no rule"),
        ({"expected": 1.0}, "takes one of"),
        ({"expected": 1.0, "stderr": 0.1, "rel_tol": 0.1}, "got rel_tol, stderr"),
        ({"expected": 1.0, "rel_tol": 0.1, "abs_tol": 0.1}, "takes one of"),
        ({"expected": 1.0, "rel_tol": 0.1, "below": 2}, "takes one of"),
        ({"below": 2.0, "rel_tol": 0.1}, "no rule"),
        ({"expected": 0.0, "rel_tol": 0.1}, "no meaning for expected=0"),
        ({"expected": 1.0, "stderr": 0.0}, "stderr=0: expected a number > 0"),
        ({"expected": 1.0, "stderr": -1.0}, "stderr=-1: expected a number > 0"),
        ({"expected": 1.0, "stderr": math.inf}, "stderr=inf: expected a finite number"),
        ({"expected": 1.0, "stderr": math.nan}, "stderr=nan: expected a finite number"),
        ({"expected": math.nan, "rel_tol": 0.1}, "expected=nan"),
        ({"expected": 1.0, "rel_tol": -0.1}, "rel_tol=-0.1: expected a number >= 0"),
        ({"expected": 1.0, "abs_tol": math.inf}, "abs_tol=inf"),
        ({"expected": 1.0, "stderr": 0.1, "sigmas": 0}, "sigmas=0"),
        ({"below": math.inf}, "below=inf"),
    ],
)
def test_a_claim_needs_a_rule_that_means_something(rule, message, outputs):
    with pytest.raises(ClaimError, match=re.escape(message)):
        claim("x is one", measured=1.0, **rule)
    assert not outputs


@pytest.mark.parametrize("measured", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_measurement_that_is_no_number_fails(measured, outputs):
    for rule in ({"expected": 1.0, "rel_tol": 0.1}, {"below": 2.0}, {"above": -math.pi}):
        with pytest.raises(ClaimError, match="expected a finite number"):
            claim("x is one", measured=measured, **rule)


@pytest.mark.parametrize("measured", [None, "one", [1.0, 2.0], np.ones(3), 1j])
def test_a_measurement_is_one_number(measured, outputs):
    with pytest.raises(TypeError, match="expected one number"):
        claim("x is one", measured=measured, below=2)


@pytest.mark.parametrize("text", ["", "  ", None, 3])
def test_a_claim_says_something(text, outputs):
    with pytest.raises(ClaimError, match="expected a statement in words"):
        claim(text, measured=1.0, below=2)


@pytest.mark.parametrize("measured", [np.float32(1), np.int64(1), np.array(1.0), np.array([1.0])])
def test_numpy_scalars_are_numbers(measured, outputs):
    claim("x is one", measured=measured, expected=1, abs_tol=0)


def test_a_tensor_is_a_number(outputs):
    torch = pytest.importorskip("torch")
    claim("x is one", measured=torch.tensor(1.0, requires_grad=True), expected=1, abs_tol=0)


def test_the_record_has_its_fields_as_text(outputs):
    claim("1/B < \"x\" & 'y'", measured=0.0312345, expected=1 / 32, stderr=0.00123)
    assert record(outputs[0]) == {
        "text": "1/B < \"x\" & 'y'",
        "kind": "expected",
        "target": "0.03125",
        "measured": "0.03123",
        "tolerance": "within 4 standard errors of 0.0012",
        "notices": 0.157,
        "coarse": "",
    }
    assert "<" not in outputs[0]["text/html"][1:].split(">", 1)[1].removesuffix("</p>")


@pytest.mark.parametrize(("rule", "good", "bad"), RULES)
def test_every_record_is_complete(rule, good, bad, outputs):
    claim("x is as said", measured=good, **rule)
    fields = record(outputs[0])
    assert set(fields) == FIELDS
    assert isinstance(fields.pop("notices"), float)
    assert all(isinstance(value, str) for value in fields.values())
    assert fields["measured"]
    assert fields["target"]


@pytest.mark.parametrize(
    ("rule", "measured", "notices"),
    [
        ({"expected": 2.0, "stderr": 0.1}, 2.3, 0.2),  # 4 x 0.1 of 2, wherever the run ended
        ({"expected": -2.0, "rel_tol": 0.05}, -2.0, 0.05),
        ({"expected": 2.0, "abs_tol": 0.3}, 2.0, 0.15),
        ({"expected": 7, "abs_tol": 0}, 7, 0.0),
        ({"expected": 0, "abs_tol": 0}, 0, 0.0),
        ({"expected": 0.0, "abs_tol": 0.3}, 0.1, None),
        ({"expected": 0.0, "abs_tol": 0.3, "scale": 3}, 0.1, 0.1),
        ({"expected": 2.0, "stderr": 0.1, "scale": 1}, 2.0, 0.4),
        ({"below": 2.0}, 1.6, 0.25),
        ({"above": 20.0}, 10_000.0, 0.998),
        ({"above": 1.0, "below": 2.0}, 1.25, 0.2),
        ({"below": 2.0, "stderr": 0.1}, 1.0, 0.6),
        ({"above": 0.0}, 1.0, None),
        ({"above": 0.0, "scale": 4}, 1.0, 0.25),
    ],
)
def test_says_the_smallest_error_that_it_would_have_noticed(rule, measured, notices, outputs):
    claim("x is as said", measured=measured, **rule)
    assert record(outputs[0])["notices"] == (notices and pytest.approx(notices))


@given(expected=st.floats(0.1, 10), tolerance=st.floats(0.001, 0.9))
def test_an_error_is_noticed_from_there_on_and_not_before(expected, tolerance):
    out = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "display", lambda data, raw: out.append(data))
        claim("x is right", measured=expected, expected=expected, abs_tol=tolerance)
        limit = record(out[0])["notices"]
        claim(
            "x is right",
            measured=expected * (1 + 0.99 * limit),
            expected=expected,
            abs_tol=tolerance,
        )
        with pytest.raises(ClaimError):
            claim(
                "x is right",
                measured=expected * (1 + 1.01 * limit),
                expected=expected,
                abs_tol=tolerance,
            )


@pytest.mark.parametrize("name", ["coarse", "theory"])
@pytest.mark.parametrize("words", ["", " ", 3, True])
def test_a_reason_is_words(name, words, outputs):
    with pytest.raises(ClaimError, match=f"{name}=.*: expected words"):
        claim("x is one", measured=1.0, below=2, **{name: words})


@given(
    deviation=st.floats(-1, 1),
    stderr=st.floats(0.26, 9),
    sigmas=st.sampled_from([4, 5]),
)
def test_the_text_does_not_depend_on_the_machine(deviation, stderr, sigmas):
    def text(**numbers):
        out = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(claims, "display", lambda data, raw: out.append(data["text/plain"]))
            claim("x is two", expected=2.0, sigmas=sigmas, **numbers)
        return out[0]

    assert text(measured=2 + deviation, stderr=stderr) == text(measured=2, stderr=1)


def test_a_theory_that_is_measured_is_said_in_words(outputs):
    for expected in (1.23456, 1.23):
        claim("both agree", measured=1.2, expected=expected, rel_tol=0.1, theory="the slow loop")
    first, second = (output["text/plain"] for output in outputs)
    assert first == second == "claim: both agree; expected the slow loop, within 10 %; holds"
    assert record(outputs[0])["target"] == "the slow loop (1.235)"


def test_a_bound_reads_as_words(outputs):
    claim("x is between", measured=1.5, above=1, below=2)
    assert outputs[0]["text/plain"] == "claim: x is between; bound above 1 and below 2; holds"


def test_quote_leaves_a_number_that_nothing_compares(outputs):
    quote("ratio", np.float64(1) / 3)
    quote("count", 12_345_678_901)
    assert [list(output) for output in outputs] == [["application/papermill.record/text/plain"]] * 2
    values = [next(iter(output.values())) for output in outputs]
    assert float(values[0]) == pytest.approx(1 / 3, rel=1e-11)
    assert values[1] == "12345678901"


def test_a_quote_carries_its_error(outputs):
    quote("ratio", 0.25, stderr=0.01)
    quote("seconds", -2, rel_tol=0.5)
    values = [next(iter(output.values())) for output in outputs]
    assert values == ["0.25 +- 0.04", "-2 +- 1"]


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({"stderr": 0.0}, "stderr=0.0: expected a finite number > 0"),
        ({"stderr": math.nan}, "stderr=nan: expected a finite number > 0"),
        ({"rel_tol": -1}, "rel_tol=-1.0: expected a finite number > 0"),
        ({"stderr": 1, "rel_tol": 1}, "give one of them"),
    ],
)
def test_an_error_is_one_positive_number(errors, message, outputs):
    with pytest.raises(ValueError, match=re.escape(message)):
        quote("ratio", 1.0, **errors)


def test_quote_writes_what_the_book_reads():
    nbformat = pytest.importorskip("nbformat")
    glue = pytest.importorskip("myst_nb.ext.glue")
    shown = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            claims, "display", lambda data, raw, metadata: shown.update(data=data, meta=metadata)
        )
        quote("ratio", 0.25)
    output = nbformat.v4.new_output("display_data", shown["data"], metadata=shown["meta"])
    cell = nbformat.v4.new_code_cell(outputs=[output])
    ((name, data),) = glue.extract_glue_data_cell(cell)
    assert (name, data["data"]) == ("ratio", {"text/plain": "0.25"})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_quote_wants_a_finite_number(value, outputs):
    with pytest.raises(ValueError, match="expected a finite number"):
        quote("ratio", value)


@pytest.mark.parametrize("value", ["0.5", None, [1, 2]])
def test_quote_wants_a_number(value, outputs):
    with pytest.raises(TypeError, match="expected one number"):
        quote("ratio", value)


@pytest.mark.parametrize("name", ["", None, " "])
def test_quote_wants_a_name(name, outputs):
    with pytest.raises(ValueError, match="expected a name"):
        quote(name, 1.0)
