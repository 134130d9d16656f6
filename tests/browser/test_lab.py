"""The other life of a live figure: a real JupyterLab, where sliders appear and recompute."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from page_rules import WAIT

CELLS = [
    "import matplotlib.pyplot as plt\n"
    "from sgdlib.book import begin, claim, explore, interval, show\n"
    "begin()",
    "def draw(batch_size, lr, rule, seed):\n"
    "    fig, ax = plt.subplots()\n"
    "    ax.plot([0, lr])\n"
    "    ax.set(title=f'drawn: {batch_size} {lr:.4g} {rule} {seed}', ylim=(0, 1))\n"
    "    return fig\n"
    "explore(draw, alt='A line that rises as far as the rate says.', batch_size=[1, 8, 32],\n"
    "        lr=interval(0.1, 1, 3), rule=['keep', 'drop'], seed=range(2))",
    "show(draw(1, 0.5, 'still', 0), alt='A line that does not move.', caption='Still.')",
    "claim('two is two', measured=2, expected=2, abs_tol=0)",
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Start a JupyterLab on loopback with one notebook; return the address that opens it."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("notebooks")
    cells = [new_code_cell(source) for source in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / "figure.ipynb")
    port, token = free_port(), secrets.token_hex(8)
    own = {"HOME": home, "JUPYTER_CONFIG_DIR": home / "config", "JUPYTER_DATA_DIR": home / "data"}
    own |= {"JUPYTERLAB_SETTINGS_DIR": home / "settings", "JUPYTER_RUNTIME_DIR": home / "run"}
    own |= {"JUPYTERLAB_WORKSPACES_DIR": home / "workspaces"}
    environment = {**os.environ, **{name: str(path) for name, path in own.items()}}
    environment.pop("BOOK_BUILD", None)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    command += [f"--ServerApp.root_dir={folder}", "--LabApp.extension_manager=readonly"]
    command += ["--LabApp.news_url=None"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    log = home / "log"
    with log.open("w") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, log)
            yield f"http://127.0.0.1:{port}/lab/tree/figure.ipynb?token={token}&reset"
        finally:
            # the first asks, the second does not wait for an answer
            server.send_signal(signal.SIGINT)
            server.send_signal(signal.SIGINT)
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.terminate()
                server.wait(15)


def wait_for(url, server, log):
    for _ in range(1200):  # five minutes: what has not started by then hangs
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, log.read_text()[-2000:]
            time.sleep(0.25)
    raise TimeoutError(log.read_text()[-2000:])


@pytest.fixture(scope="module")
def page(browser, lab):
    """The notebook, opened and run."""
    context = browser.new_context(viewport={"width": 1300, "height": 1400})
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto(lab)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    # the status bar; the indicator in the toolbar says idle before there is a kernel
    page.get_by_role("button", name=re.compile(r"Python 3.*\| Idle")).wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    # done when no cell shows [*] and every cell has a number
    page.wait_for_function(
        """() => {
            const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")];
            return prompts.length && prompts.every((p) => /\\[\\d+\\]/.test(p.textContent));
        }"""
    )
    page.wait_for_selector(".jupyter-widgets .widget-html svg")
    yield page
    context.close()


def shown(page):
    """The title of the live figure: what it was drawn for."""
    return re.search(r"drawn: [^<]*", page.locator(".widget-html svg").inner_html())[0]


def becomes(page, title):
    page.wait_for_function(
        "(title) => document.querySelector('.widget-html svg').textContent.includes(title)",
        arg=title,
    )


def test_every_cell_ran(page):
    errors = '.jp-OutputArea [data-mime-type="application/vnd.jupyter.error"]'
    warnings = '.jp-OutputArea [data-mime-type="application/vnd.jupyter.stderr"]'
    assert page.locator(errors).all_text_contents() == []
    assert page.locator(warnings).all_text_contents() == []


def test_a_slider_recomputes(page):
    assert page.get_by_role("slider").count() == 2
    assert shown(page) == "drawn: 1 0.1 keep 0"
    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowRight")
    becomes(page, "drawn: 8 0.1 keep 0")


def test_a_continuous_slider_stops_between_the_frames_of_the_page(page):
    page.get_by_role("slider").nth(1).focus()
    page.keyboard.press("ArrowRight")
    becomes(page, "drawn: 8 0.1045 keep 0")


def test_menu_and_new_random_batches(page):
    page.locator(".widget-dropdown select").select_option("drop")
    becomes(page, "drawn: 8 0.1045 drop 0")
    button = page.get_by_role("button", name="New random batches")
    for seed in (1, 2, 3):
        button.click()
        becomes(page, f"drawn: 8 0.1045 drop {seed}")


def test_still_figures_and_claims_are_shown(page):
    still = page.get_by_role("img", name="A line that does not move.")
    assert still.is_visible()
    assert page.locator("p.claim").text_content() == "✓ two is two: measured 2, expected 2, exactly"


def test_ink_follows_the_theme_of_jupyterlab(page):
    colours = """["figure.own svg text", ".widget-html svg text", ".jp-RenderedHTMLCommon"]
        .map((selector) => getComputedStyle(document.querySelector(selector)))
        .map((style, i) => (i < 2 ? style.fill : style.color))"""
    light = page.evaluate(colours)
    assert len(set(light)) == 1
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.get_by_text("Theme", exact=True).first.hover()
    page.get_by_text("JupyterLab Dark", exact=True).click()
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    page.wait_for_function(f"({colours})[2] !== '{light[2]}'")
    assert len(set(page.evaluate(colours))) == 1
