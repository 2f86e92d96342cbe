"""A web server of doubtful character, and a server that nobody should ever reach."""

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator

from tests.serving.photos import encoded, picture

PHOTO = encoded(picture())


class Canary:
    """Listens on 127.0.0.1, where the other names of loopback lead too, and remembers who came."""

    def __init__(self) -> None:
        self.visits = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.visits += 1
                connection.close()

    def close(self) -> None:
        self._listener.close()


class Web:
    """Where the server is, and the canary that its redirects lead to."""

    def __init__(self, port: int, canary: Canary) -> None:
        self.port, self.canary = port, canary

    def url(self, path: str) -> str:
        return f"http://localhost:{self.port}/{path}"


@contextlib.contextmanager
def serving_web() -> Iterator[Web]:
    canary = Canary()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.canary_port = canary.port  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Web(server.server_port, canary)
    server.shutdown()
    server.server_close()
    canary.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        page = getattr(self, f"page_{self.path.strip('/').partition('/')[0].replace('-', '_')}", self.page_missing)
        with contextlib.suppress(OSError):
            page()

    def answer(self, body: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def move(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def page_photo(self) -> None:
        self.answer(PHOTO)

    def page_moved(self) -> None:
        self.move("/photo")

    def page_umlauts(self) -> None:
        if self.path == "/umlauts/F%C3%BC%C3%9Fe%20a.jpg?gr%C3%B6%C3%9Fe=1":
            self.answer(PHOTO)
        else:
            self.page_missing()

    def page_to_umlauts(self) -> None:
        self.move("/umlauts/Füße%20a.jpg?größe=1".encode().decode("latin-1"))  # the header has UTF-8, unquoted

    def page_missing(self) -> None:
        self.send_error(404)

    def page_to_canary(self) -> None:
        self.move(f"http://127.0.0.1:{self.server.canary_port}/")  # type: ignore[attr-defined]

    def page_to_metadata(self) -> None:
        self.move("https://169.254.169.254/latest/meta-data/")

    def page_to_file(self) -> None:
        self.move("file:///etc/passwd")

    def page_round(self) -> None:
        self.move("/round")

    def page_text(self) -> None:
        self.answer(b"<html>no photo here</html>")

    def page_cut(self) -> None:
        self.answer(PHOTO[:200], length=len(PHOTO))
        self.close_connection = True

    def page_huge(self) -> None:
        self.answer(b"", length=10**12)
        for _ in range(500):
            self.wfile.write(bytes(64 * 1024))

    def page_endless(self) -> None:
        self.send_response(200)
        self.end_headers()  # says no length, so that the connection's end is the body's
        while True:
            self.wfile.write(bytes(64 * 1024))

    def page_drip(self) -> None:
        self.answer(b"", length=10_000)
        for _ in range(100):
            self.wfile.write(b"\xff")
            time.sleep(0.1)

    def page_drip_headers(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\n")
        for number in range(100):
            self.wfile.write(f"X-{number}: x\r\n".encode())
            time.sleep(0.1)

    def page_silent(self) -> None:
        time.sleep(8)
