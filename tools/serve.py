"""Show the built book on localhost, compressed as a web server would send it."""

import argparse
import contextlib
import gzip
import http.server
import sys
from http import HTTPStatus
from pathlib import Path

BOOK = Path(__file__).resolve().parent.parent / "_build/html"
TEXT = {".html", ".css", ".js", ".svg", ".json", ".ipynb", ".md", ".txt", ".xml"}


class Compressing(http.server.SimpleHTTPRequestHandler):
    """Serves files; text goes out as gzip where the browser takes it."""

    protocol_version = "HTTP/1.1"

    def handle(self):
        """Answer requests until the browser has left, even in the middle of an answer."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self):
        """Answer a request."""
        path = Path(self.translate_path(self.path))
        if path.is_dir() and self.path.split("?")[0].endswith("/"):
            path /= "index.html"
        takes = "gzip" in self.headers.get("Accept-Encoding", "")
        if not (takes and path.suffix in TEXT and path.is_file()):
            super().do_GET()
            return
        body = gzip.compress(path.read_bytes(), mtime=0)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code, message=None, explain=None):
        """Where there is no such page, answer with the book's own 404 page, if it has one."""
        page = Path(self.directory, "404.html")
        if code != HTTPStatus.NOT_FOUND or not page.is_file():
            super().send_error(code, message, explain)
            return
        body = page.read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args):
        """Keep the terminal quiet."""


def server(folder, port=0):
    """Return a server of a folder on localhost; port 0 takes a free one (``server_port``)."""

    def handler(*args):
        return Compressing(*args, directory=str(folder))

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


def main():
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="8000; 0 takes a free one")
    port = parser.parse_args().port
    if not (BOOK / "index.html").exists():
        sys.exit(f"There is no book in {BOOK} yet: make book")
    try:
        running = server(BOOK, port)
    except OSError as error:
        sys.exit(f"Port {port}: {error.strerror}. Another one: make serve PORT=8001")
    with running:
        address = f"http://localhost:{running.server_port}"
        print(f"The book is at {address} (stop with Ctrl+C)", flush=True)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
