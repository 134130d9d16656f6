"""The page *Which batch size, which rate?*: its form against sgdlib, wrong input, the address."""

import re
from pathlib import Path

import page_rules as rules
import pytest

from sgdlib.capacity import choose_communication, choose_pieces
from sgdlib.recommendation import choose_batch_size, choose_lr, two_batch_noise_scale

ROOT = Path(__file__).resolve().parents[2]
SOURCE = (ROOT / "chapters/applications/which_batch_size.md").read_text(encoding="utf-8")
SCRIPT = (ROOT / "_ext/scripts/which_batch_size.js").read_text(encoding="utf-8")
PAGE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">
<title>Advice</title><meta name="viewport" content="width=device-width"><style>
:root {{ --pst-color-primary: #0a7d91; --pst-color-background: #fff }}
html {{ background: #fff; color: #222832 }}
html[data-theme="dark"] {{ background: #14181e; color: #ced6dd; --pst-color-background: #14181e }}
body {{ margin: 0 auto; padding: 0 1rem; max-width: 46rem }} {css}</style></head>
<body><main><h1>Which batch size?</h1>{form}<h2 id="follows">What follows</h2>{lines}</main>
<script>matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (dark) => {{
document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; }});</script>
<script>{js}</script></body></html>"""
EXAMPLE = {
    "times": {32: 9.0, 256: 23.0},
    "noise": 1000.0,
    "rate": 0.1,
    "rateBatch": 32,
    "momentum": 0.9,
    "memory": {32: 2.6, 256: 6.6},
    "memoryLimit": 4.0,
    "workers": 4,
    "parameters": 25.0,
    "bandwidth": 10.0,
}
CASES = {
    "one worker": {"workers": 1},
    "many workers": {"workers": 100, "noise": 20_000.0, "memoryLimit": 500.0},
    "two bytes": {"bytes": "2", "bandwidth": 0.1},
    "norms": {"norms": {16: 3.5, 1024: 0.125}},
    "norms the other way round": {"norms": {1024: 0.125, 16: 3.5}},
    "times the other way round": {"times": {2048: 400.0, 8: 50.0}},
    "Adam": {"optimizer": "adam"},
    "Adam, downwards": {"optimizer": "adam", "rateBatch": 4096},
    "a steep loss": {"curvature": 12.5, "momentum": 0.0},
    "hardly any noise": {"noise": 0.5, "workers": 1},
    "hardly any overhead": {"times": {1: 1.0001, 1000: 1000.0}, "noise": 3.0},
    "a slow network": {"bandwidth": 1e-3, "parameters": 7000.0},
    "small numbers": {"times": {1: 1e-4, 3: 2e-4}, "rate": 1e-9},
    "a tight memory": {"memoryLimit": 2.2, "workers": 1, "bytes": "2"},
}

STEEP = {"curvature": 12.5, "noise": 1e6}


def bare_page(folder, script=SCRIPT):
    """Write the form, its lines and its script as a page of their own."""
    form = re.search(r"```\{raw\} html\n(.*?)\n```", SOURCE, re.S)[1]
    lines = "".join(f"<p>{span}</p>" for span in re.findall(r"<span id=.*?</span>", SOURCE))
    css = (ROOT / "_static/advice.css").read_text(encoding="utf-8")
    path = folder / "advice.html"
    path.write_text(PAGE.format(css=css, form=form, lines=lines, js=script), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    return bare_page(tmp_path_factory.mktemp("advice"))


def put(page, name, value):
    """Put a value into a field as a reader would."""
    field = page.locator(f"[name={name}]")
    if field.evaluate("field => field.tagName") == "SELECT":
        field.select_option(value)
    else:
        field.fill(str(value))


def pair(page, measured, sizes, values):
    for (size, value), a, b in zip(measured.items(), sizes, values, strict=True):
        put(page, a, size)
        put(page, b, repr(value))


def put_all(page, case):
    """Put in a case; what it does not name is the example's."""
    if "times" in case:
        pair(page, case["times"], ("smallTime", "bigTime"), ("timeSmall", "timeBig"))
    if "norms" in case:
        put(page, "noiseBy", "norms")
        pair(page, case["norms"], ("smallNorm", "bigNorm"), ("normSmall", "normBig"))
    for name, value in case.items():
        if name not in ("times", "norms", "memory"):
            put(page, name, value)


def by_sgdlib(case):
    """Return what the library says, line by line, in the units of the script."""
    c = {**EXAMPLE, "optimizer": "sgd", "curvature": None, "bytes": "4", **case}
    noise = two_batch_noise_scale(c["norms"]) if "norms" in c else c["noise"]
    times = {b: 1e-3 * t for b, t in c["times"].items()}
    batch = choose_batch_size(times, noise_scale=noise, workers=c["workers"])
    rate = choose_lr(
        c["rate"],
        c["rateBatch"],
        batch.batch_size,
        noise_scale=noise,
        optimizer=c["optimizer"],
        momentum=c["momentum"],
        curvature=c["curvature"],
    )
    share, gradient = batch.batch_size // c["workers"], 1e6 * c["parameters"] * int(c["bytes"])
    found = {
        "noise": {"value": noise},
        "even": {"overhead": batch.overhead, "perExample": batch.per_example},
        "best": {"value": batch.best},
        "band": dict(zip(("low", "high"), batch.band, strict=True)),
        "four": {"value": batch.off_by_four},
        "batch": {"value": batch.batch_size},
        "rate": {"value": rate.lr},
        "limit": {"value": rate.limit},
        "pieces": {},
        "talk": {},
    }
    memory = {b: 1e9 * m for b, m in c["memory"].items()}
    limit = 1e9 * c["memoryLimit"]
    try:
        p = choose_pieces(memory, limit=limit, batch_size=share, gradient=gradient)
        found["pieces"] = {"pieces": p.pieces, "micro": p.micro_batch_size}
    except ArithmeticError:
        pass
    if c["workers"] > 1:
        talk = choose_communication(
            gradient,
            bandwidth=1e9 * c["bandwidth"],
            per_example=batch.per_example,
            batch_size=found["pieces"].get("micro", share),
            workers=c["workers"],
        )
        found["talk"] = {
            "hidden": talk.hidden_from,
            "exposed": talk.exposed,
            "seconds": talk.seconds,
        }
    return found


def lines(page, what="textContent"):
    spans = page.locator("span[id^=advice-out-]")
    code = f"all => all.map(one => [one.id.slice(11), {{...one.dataset}}, one.{what}])"
    return {name: (data, text) for name, data, text in spans.evaluate_all(code)}


def differences(page, case):
    """Yield the numbers of the page that are not those of sgdlib, to ten digits."""
    shown = lines(page)
    for line, expected in by_sgdlib(case).items():
        data = {key: float(value) for key, value in shown[line][0].items()}
        if data.keys() != expected.keys() or any(
            data[key] != pytest.approx(value, rel=1e-10, abs=1e-15)
            for key, value in expected.items()
        ):
            yield f"{line}: {shown[line]}, sgdlib {expected}"


@pytest.mark.parametrize("case", [{}, *CASES.values()], ids=["example", *CASES])
def test_the_form_says_what_sgdlib_says(open_page, page_file, case):
    page = open_page(page_file)
    put_all(page, case)
    assert list(differences(page, case)) == []
    text = " ".join(text for _, text in lines(page).values())
    assert not re.search("NaN|undefined|Infinity|null", text)
    assert page.complaints == []


@pytest.mark.parametrize(
    ("right", "bug"),
    [
        ("BACKWARD = 2 / 3", "BACKWARD = 1 / 3"),
        ("(noise * overhead) / share", "(noise * overhead) / perExample"),
        ("1 / small - 1 / big", "1 / big - 1 / small"),
        ("rate * Math.sqrt(k)", "rate * k"),
        ("limit - fixed - gradient", "limit - fixed"),
        ("2 * (1 + momentum)", "2 / (1 - momentum)"),
        ("(workers - 1) / workers", "workers / workers"),
    ],
)
def test_a_wrong_formula_would_be_noticed(open_page, tmp_path, right, bug):
    assert SCRIPT.count(right) == 1
    page = open_page(bare_page(tmp_path, SCRIPT.replace(right, bug)))
    for case in (CASES["norms"], CASES["Adam"], CASES["a tight memory"], STEEP):
        page.reload()
        put_all(page, case)
        if list(differences(page, case)):
            return
    raise AssertionError("no case noticed it")


def test_the_example_stands_in_the_page_without_script(open_page, page_file):
    without = open_page(page_file, script=False)
    still = without.locator("span[id^=advice-out-]").all_text_contents()
    page = open_page(page_file)
    assert page.locator("span[id^=advice-out-]").all_text_contents() == still
    said = page.locator("#advice-said").text_content()
    assert said == (
        "Take 512 examples, 128 on each of 4 workers, at a rate of 1.6 to start with, in 2 pieces."
    )
    printed = " ".join(re.findall(r"\d[\d.]*", " ".join(still)))
    for number in ("669", "355", "1262", "54", "512", "1.6", "3.23", "360"):
        assert number in printed.split()


def test_the_cell_of_the_page_computes_the_example(capsys):
    code = re.search(r"```\{code-cell\} ipython3\n(.*?)```", SOURCE, re.S)[1]
    exec(compile(code, "which_batch_size.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == [
        "best 669, between 355 and 1262",
        "take 512; four times off: 54%",
        "rate 1.6, limit 3.23",
        "2 pieces of 64 on each worker",
        "communication hides from 360 examples at once",
    ]


@pytest.mark.parametrize("name", ["timeBig", "noise", "rate", "workers", "bandwidth"])
def test_nonsense_gets_a_sentence(open_page, page_file, name):
    page = open_page(page_file)
    field = page.locator(f"[name={name}]")
    good = field.input_value()
    for text in ("abc", "", "-3", "0", "1e999", "NaN", "1,5", "0x", "∞", "  ", "<b>"):
        field.fill(text)
        assert field.get_attribute("aria-invalid") == "true", text
        sentence = page.locator(f"#{field.get_attribute('aria-describedby')}").text_content()
        assert sentence == "Please put in a number." or re.fullmatch(
            rf"“{re.escape(text)}”: expected a (whole )?number (above 0|from 1)\.", sentence
        )
        texts = [shown for _, shown in lines(page).values()]
        assert not re.search("NaN|undefined|Infinity|null", " ".join(texts))
        assert any(shown.startswith("Needs: ") for shown in texts)
    field.fill(good)
    assert field.get_attribute("aria-invalid") is None
    assert page.locator(".advice-wrong").count() == 0
    assert list(differences(page, {})) == []
    assert page.complaints == []


@pytest.mark.parametrize(
    ("typed", "line", "sentence"),
    [
        ({"bigTime": 32}, "even", "The two batch sizes are the same"),
        ({"timeBig": 9}, "even", "The larger batch takes no longer"),
        ({"timeBig": 90}, "even", "No overhead is left over"),
        ({"memoryLimit": 2.1}, "pieces", "Not even one example fits"),
        ({"memoryBig": 1}, "pieces", "The larger batch needs no more memory"),
        ({"memoryBig": ""}, "pieces", "Needs peak memory at two batch sizes"),
        ({"memorySmall": "", "memoryBig": "", "memoryLimit": ""}, "pieces", "no limit"),
        ({"noiseBy": "norms", "normBig": 2}, "noise", "These two norms give a noise that"),
        ({"noiseBy": "norms", "normBig": 0.01}, "noise", "These two norms give a squared"),
        ({"rateBatch": 1.5}, "rate", "Needs: at the batch size."),
        ({"momentum": 1}, "rate", "Needs: momentum."),
        ({"curvature": "steep"}, "rate", "Needs: largest curvature."),
        ({"curvature": 1000}, "rate", "1.6: 16 times the batch, 16 times the rate; that is above"),
        ({"workers": 1}, "talk", "one worker has nobody"),
    ],
)
def test_what_cannot_be_computed_is_said(open_page, page_file, typed, line, sentence):
    page = open_page(page_file)
    for name, value in typed.items():
        put(page, name, value)
    assert lines(page)[line][1].startswith(sentence)
    assert page.complaints == []


def test_the_address_keeps_what_was_typed(open_page, page_file):
    page = open_page(page_file)
    assert "#" not in page.url
    page.get_by_label("noise scale").fill("400")
    page.get_by_label("workers").fill("8")
    page.wait_for_function("location.hash === '#advice?noise=400&workers=8'")
    again = open_page(page.url)
    assert again.get_by_label("workers").input_value() == "8"
    assert list(differences(again, {"noise": 400.0, "workers": 8})) == []
    again.get_by_role("button", name="Back to the example").click()
    again.wait_for_function("location.hash === ''")
    assert list(differences(again, {})) == []
    hostile = "#advice?noise=<img src=x onerror=alert(1)>&optimizer=lion&nobody=1&rate=%E0%A4%A"
    strange = open_page(page_file.as_uri() + hostile)
    assert strange.locator("img").count() == 0
    assert strange.locator("[name=optimizer]").input_value() == "sgd"
    assert "expected a number above 0" in strange.locator("#advice-noise-wrong").text_content()
    section = open_page(page_file.as_uri() + "#follows")
    section.get_by_label("workers").fill("4")
    section.wait_for_timeout(600)
    assert section.url.endswith("#follows")


def test_every_field_has_a_label_and_the_keyboard_reaches_it(open_page, page_file):
    page = open_page(page_file)
    fields = page.locator(".advice :is(input, select):visible")
    names = fields.evaluate_all("all => all.map(one => one.labels[0]?.textContent ?? '')")
    assert all(names)
    assert len(names) == 20
    page.locator(".advice input").first.focus()
    for _ in range(len(names)):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Back to the example"


def test_the_result_is_announced_when_the_reader_pauses(open_page, page_file):
    page = open_page(page_file)
    said = page.get_by_role("status")
    page.get_by_label("noise scale").fill("10000")
    page.wait_for_function("document.getElementById('advice-said').textContent.includes('2048')")
    assert said.text_content().startswith("Take 2048 examples, 512 on each of 4 workers")
    page.get_by_label("noise scale").fill("x")
    page.wait_for_function(
        "document.getElementById('advice-said').textContent.includes('missing or wrong')"
    )


def test_nothing_is_asked_and_axe_finds_nothing(open_page, page_file):
    page = open_page(page_file)
    put(page, "noise", "x")
    put(page, "memoryLimit", "1")
    for dark in (False, True):
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme="dark" if dark else "light")
            assert rules.violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.asked == [page_file.as_uri()]
