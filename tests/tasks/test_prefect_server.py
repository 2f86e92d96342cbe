"""A Prefect server of our own, and nobody else's."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from tasks import prefect_server
from tasks.settings import Settings


class Healthy(BaseHTTPRequestHandler):
    """Answers as a Prefect server does, whatever it is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_another_server_on_the_port_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two installations that start at once may both have found Prefect's usual port free."""
    here = Settings(home=tmp_path)
    stranger = HTTPServer(("127.0.0.1", 0), Healthy)
    threading.Thread(target=stranger.serve_forever, daemon=True).start()
    taken, really_free = stranger.server_port, prefect_server._free_port
    monkeypatch.setattr(prefect_server, "_free_port", lambda preferred: taken if preferred else really_free(0))
    try:
        url = prefect_server.start(here)
        assert url != f"http://127.0.0.1:{taken}/api"
        assert prefect_server.server_url(here) == url
        assert httpx.get(f"{url}/health").json() is True
    finally:
        prefect_server.stop(here)
        stranger.shutdown()
        stranger.server_close()
    assert prefect_server.server_url(here) is None
