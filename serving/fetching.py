"""Fetches a photo from a URL that a stranger named, and from nowhere that the stranger should not reach.

A name is resolved once, every address that it has is judged, and the connection goes to an address that was
judged: a second answer of the DNS changes nothing. Each redirect is judged anew. Proxies of the environment are
not used.
"""

import http.client
import ipaddress
import socket
import ssl
import string
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from serving.refusal import Refusal
from training.picture import MAX_BYTES

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SECONDS = 5.0
REDIRECTS = 3
CHUNK = 64 * 1024
_MOVED = frozenset({301, 302, 303, 307, 308})
_PORTS = {"https": 443, "http": 80}
_NEVER = (  # what looks public to `ipaddress` and is not
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's metadata
    ipaddress.ip_network("fec0::/10"),  # site-local: private, by an older name
    ipaddress.ip_network("3fff::/20"),  # for documentation
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
LOOKUPS = 32
"""Names looked up at once. `getaddrinfo` knows no deadline: a slow name keeps its thread when its request gave up."""
_resolver = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="resolver")


@dataclass(frozen=True)
class Rules:
    """What may be fetched besides https from public addresses.

    Attributes:
        hosts: names that may be asked by plain http and on any port; where a network stands with a name, it may
            have an address in that network, which need not be public.
        trust: certificates that https servers are checked against.
    """

    hosts: Mapping[str, Network | None] = field(default_factory=dict)
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    @classmethod
    def parse(cls, text: str) -> "Rules":
        """Read ``host,host=network,...``.

        Raises:
            ValueError: a network is none.
        """
        hosts: dict[str, Network | None] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, network = part.partition("=")
            hosts[name.strip().lower()] = ipaddress.ip_network(network.strip()) if network else None
        return cls(hosts)


def fetch(url: str, rules: Rules, seconds: float = SECONDS) -> bytes:
    """The body behind a URL.

    Args:
        url: https, or http where the rules name its host.
        rules: what else may be fetched.
        seconds: for everything together, redirects included.

    Raises:
        Refusal: 400 for what is no URL, 403 for where we do not go, 413 for too large a body, 424 when the server
            does not give one, 503 when slow names keep this one from being looked up.
    """
    deadline = time.monotonic() + seconds
    for _ in range(REDIRECTS + 1):
        parts = _checked(url, rules)
        address = _resolve(parts, rules, deadline)
        with _request(parts, address, rules, deadline) as response:
            if response.status in _MOVED and (target := response.getheader("Location")):
                url = urljoin(url, quote(target, safe=string.printable, encoding="latin-1"))  # as headers are read
                continue
            if response.status != 200:
                raise Refusal(424, f"{parts.hostname} answered {response.status} for the photo")
            return _read(response, parts, deadline)
    raise Refusal(424, f"the photo moved more than {REDIRECTS} times")


def _checked(url: str, rules: Rules) -> SplitResult:
    """Refuse what is no URL, or one that we do not follow; letters beyond ASCII are quoted, as HTTP has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".").encode("idna").decode()
        path, query = (quote(part, safe=string.printable) for part in (parts.path, parts.query))
    except (ValueError, UnicodeError):
        raise Refusal(400, "url is not a URL") from None
    if parts.scheme and parts.scheme not in _PORTS:
        raise Refusal(403, f"photos are fetched by https only, not by {parts.scheme}")
    if not parts.scheme or not host or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url) or "\\" in url:
        raise Refusal(400, "url is not a URL: it names no host, or holds blanks or backslashes")
    if parts.username is not None or parts.password is not None:
        raise Refusal(403, "a URL with a user name or a password is not fetched")
    named = host.lower() in rules.hosts
    if not named and (parts.scheme != "https" or (port or 443) != 443):
        raise Refusal(403, f"from {host} photos are fetched by https on port 443 only")
    netloc = f"{f'[{host}]' if ':' in host else host}:{port or _PORTS[parts.scheme]}"
    return parts._replace(netloc=netloc, path=path, query=query, fragment="")


def _resolve(parts: SplitResult, rules: Rules, deadline: float) -> str:
    """The address to connect to; refused if any address of the name may not be reached."""
    host = str(parts.hostname)
    asked = _resolver.submit(socket.getaddrinfo, host, parts.port, type=socket.SOCK_STREAM)
    try:
        found = asked.result(max(0.0, deadline - time.monotonic()))
    except TooLate:  # an OSError too
        if asked.cancel():  # it had not begun
            raise Refusal(503, f"{LOOKUPS} slow names are being looked up, and {host} was not; try again") from None
        raise Refusal(424, f"the name {host} could not be looked up in time") from None
    except (OSError, UnicodeError):
        raise Refusal(424, f"the name {host} is not known") from None
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    network = rules.hosts.get(host.lower())
    if not addresses or not all(is_allowed(ipaddress.ip_address(address), network) for address in addresses):
        raise Refusal(403, f"{host} is not at a public address")
    return addresses[0]


def is_allowed(address: Address, network: Network | None = None) -> bool:
    """Whether an address may be contacted: a public one, or one in a network that was named.

    Addresses that carry an IPv4 address (mapped, 6to4, Teredo, NAT64) are judged by that one too.
    """
    if network is not None and address in network:
        return not address.is_link_local
    if any(address in never for never in _NEVER if never.version == address.version):
        return False
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return all(is_allowed(inner) for inner in _carried(address))


def _carried(address: Address) -> Iterator[ipaddress.IPv4Address]:
    if isinstance(address, ipaddress.IPv6Address):
        yield from (inner for inner in (address.ipv4_mapped, address.sixtofour) if inner)
        yield from address.teredo or ()
        if address in _NAT64 or int(address) >> 32 == 0:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


@contextmanager
def _request(parts: SplitResult, address: str, rules: Rules, deadline: float) -> Iterator[http.client.HTTPResponse]:
    """Ask, over a connection to this very address; it is cut at the deadline, however slowly the server drips."""
    host, port = str(parts.hostname), int(parts.port or 0)
    connection = http.client.HTTPConnection(host, port)
    cut: threading.Timer | None = None
    try:
        left = max(0.01, deadline - time.monotonic())
        connection.sock = sock = socket.create_connection((address, port), timeout=left)
        if parts.scheme == "https":
            connection.sock = sock = rules.trust.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        cut = threading.Timer(max(0.01, deadline - time.monotonic()), _cut, [sock])
        cut.daemon = True
        cut.start()
        if isinstance(sock, ssl.SSLSocket):
            sock.do_handshake()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        default = port == _PORTS[parts.scheme]
        headers = {
            "Host": host if default else parts.netloc,
            "User-Agent": "binventory",
            "Accept": "image/jpeg, image/png",
        }
        connection.request("GET", target, headers=headers)
        yield connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = time.monotonic() >= deadline
        why = "it took too long" if late or isinstance(error, TimeoutError) else type(error).__name__
        raise Refusal(424, f"the photo could not be fetched from {host}: {why}") from None
    finally:
        if cut:
            cut.cancel()
        connection.close()


def _cut(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not SSLSocket's own, which waits for the other side
    except OSError:
        return  # it was closed already


def _read(response: http.client.HTTPResponse, parts: SplitResult, deadline: float) -> bytes:
    body = bytearray()
    if (response.length or 0) > MAX_BYTES:
        raise Refusal(
            413, f"the photo at {parts.hostname} has {response.length:,} bytes; at most {MAX_BYTES:,} are read"
        )
    while chunk := response.read(CHUNK):
        body += chunk
        if len(body) > MAX_BYTES:
            raise Refusal(413, f"the photo at {parts.hostname} has more than {MAX_BYTES:,} bytes")
    if response.length or time.monotonic() >= deadline:
        raise Refusal(424, f"the photo from {parts.hostname} was cut short")
    return bytes(body)
