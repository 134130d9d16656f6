"""The local server sends what a web server would: compressed text, other files as they are."""

import gzip
import sys
import threading
import urllib.error
import urllib.request

import pytest
from small_book import ROOT

sys.path.append(str(ROOT / "tools"))
import serve


@pytest.fixture
def address(tmp_path):
    (tmp_path / "index.html").write_text("<p>" + "text " * 100)
    (tmp_path / "dot.png").write_bytes(b"\x89PNG")
    with serve.server(tmp_path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.headers, answer.read()


@pytest.mark.parametrize("path", ["/", "/index.html", "/index.html?v=1"])
def test_text_is_compressed_for_those_who_take_it(address, path):
    headers, body = get(address + path, **{"Accept-Encoding": "gzip, br"})
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Content-Type"] == "text/html"
    assert len(body) < 100
    assert gzip.decompress(body).startswith(b"<p>text")
    headers, body = get(address + path)
    assert headers["Content-Encoding"] is None
    assert body.startswith(b"<p>text")


def test_other_files_are_sent_as_they_are(address):
    headers, body = get(address + "/dot.png", **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] is None
    assert body == b"\x89PNG"


def test_what_is_not_there_is_a_404(address):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(address + "/../serve.py", **{"Accept-Encoding": "gzip"})


def test_what_is_not_there_is_answered_by_the_books_own_page(address, tmp_path):
    (tmp_path / "404.html").write_text("<p>No such page.")
    with pytest.raises(urllib.error.HTTPError, match="404") as error:
        get(address + "/nowhere/at/all.html")
    assert error.value.read() == b"<p>No such page."
