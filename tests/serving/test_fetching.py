"""What a name may lead to is judged by all its addresses, once; and a body is read only so far."""

import ipaddress
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from serving.fetching import LOOKUPS, Rules, fetch
from serving.refusal import Refusal
from tests.serving.web import PHOTO, Web

NAME = "photos.example.com"
PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.1"


class Names:
    """A name server whose answers are known; numbers are looked up as ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.lookups, self._answers, self._real = 0, answers, socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host != NAME:
            return self._real(host, port, *args, **options)
        addresses = self._answers[min(self.lookups, len(self._answers) - 1)]
        self.lookups += 1
        return [entry for address in addresses for entry in self._real(address, port, *args, **options)]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Addresses that were connected to; nothing is."""
    asked: list[Any] = []

    def refuse(address: Any, **_: Any) -> socket.socket:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    return asked


@pytest.mark.parametrize(
    "addresses", [[PUBLIC, PRIVATE], [PRIVATE, PUBLIC], [PUBLIC, "fd00::1"], ["fec0::1"], ["3fff::1"]]
)
def test_a_name_with_an_address_that_is_not_public_is_refused(
    addresses: list[str], connected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, addresses)
    with pytest.raises(Refusal, match="not at a public address") as refused:
        fetch(f"https://{NAME}/a.jpg", Rules())
    assert refused.value.status_code == 403
    assert connected == []


def test_the_connection_goes_to_the_address_that_was_judged(
    connected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, [PUBLIC], [PRIVATE])
    with pytest.raises(Refusal) as refused:
        fetch(f"https://{NAME}/a.jpg", Rules())
    assert refused.value.status_code == 424
    assert (names.lookups, connected) == (1, [(PUBLIC, 443)])


def test_a_name_whose_answer_changes_is_looked_up_once(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, ["127.0.0.1"], [PRIVATE])
    rules = Rules({NAME: ipaddress.ip_network("127.0.0.0/8")})
    assert fetch(f"http://{NAME}:{web.port}/photo", rules) == PHOTO
    assert names.lookups == 1
    with pytest.raises(Refusal, match="not at a public address"):
        fetch(f"http://{NAME}:{web.port}/photo", rules)


def test_slow_names_do_not_stop_others(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked, over = socket.getaddrinfo, [], threading.Event()
    rules = Rules({"localhost": ipaddress.ip_network("127.0.0.0/8")})

    def look_up(host: str, *args: Any, **options: Any) -> Any:
        asked.append(host)
        if host.startswith("slow"):
            over.wait(20)
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return real(host, *args, **options)

    def refusal(url: str) -> Refusal:
        with pytest.raises(Refusal) as refused:
            fetch(url, rules, seconds=0.5)
        return refused.value

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    slow = [f"https://slow-{number}.example.com/a.jpg" for number in range(LOOKUPS)]
    try:
        with ThreadPoolExecutor(LOOKUPS) as pool:
            early = list(pool.map(refusal, slow[:4]))
            assert {each.status_code for each in early} == {424}
            assert all("could not be looked up in time" in str(each) for each in early)
            assert fetch(web.url("photo"), rules) == PHOTO
            list(pool.map(refusal, slow[4:]))
        busy = refusal("http://localhost/given-up")
        assert (busy.status_code, "localhost was not; try again" in str(busy)) == (503, True)
    finally:
        over.set()
    assert fetch(web.url("photo"), rules) == PHOTO
    assert asked.count("localhost") == 2  # what nobody waited for any more was not looked up


@pytest.mark.parametrize("path", ["umlauts/Füße%20a.jpg?größe=1", "to-umlauts"])
def test_a_url_with_umlauts_is_fetched(web: Web, path: str) -> None:
    assert fetch(web.url(path), Rules({"localhost": ipaddress.ip_network("127.0.0.0/8")})) == PHOTO


def test_a_url_that_cannot_be_quoted_is_none(connected: list[Any]) -> None:
    with pytest.raises(Refusal, match="not a URL") as refused:
        fetch(f"https://{PUBLIC}/\ud800.jpg", Rules())
    assert (refused.value.status_code, connected) == (400, [])


def test_a_body_that_does_not_say_its_length_is_read_up_to_the_limit(web: Web) -> None:
    rules = Rules({"localhost": ipaddress.ip_network("127.0.0.0/8")})
    with pytest.raises(Refusal, match="more than 20,971,520 bytes") as refused:
        fetch(web.url("endless"), rules, seconds=60)
    assert refused.value.status_code == 413
