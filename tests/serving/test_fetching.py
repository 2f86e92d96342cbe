"""What a name may lead to is judged by all its addresses, once; and a body is read only so far."""

import ipaddress
import socket
from typing import Any

import pytest

from serving.fetching import Rules, fetch
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


@pytest.mark.parametrize("addresses", [[PUBLIC, PRIVATE], [PRIVATE, PUBLIC], [PUBLIC, "fd00::1"]])
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


def test_a_body_that_does_not_say_its_length_is_read_up_to_the_limit(web: Web) -> None:
    rules = Rules({"localhost": ipaddress.ip_network("127.0.0.0/8")})
    with pytest.raises(Refusal, match="more than 20,971,520 bytes") as refused:
        fetch(web.url("endless"), rules, seconds=60)
    assert refused.value.status_code == 413
