"""Requests that nobody should send, at a real endpoint: each is refused with the status that says why."""

import base64
import io
import json
import socket
import struct
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from serving.predictor import MAX_BODY
from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import Hosting
from tests.serving.conftest import NAMED
from tests.serving.photos import encoded, picture
from tests.serving.web import PHOTO, Web

JPEG, JSON, NPY = "image/jpeg", "application/json", "application/x-npy"
Request = tuple[bytes, str]


def png(width: int, height: int, rows: bytes, *chunks: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    )


def text_bomb() -> bytes:
    data = b"comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    body = b"zTXt" + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def npy(shape: object, data: bytes = b"", dtype: str = "|u1") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def pickled() -> bytes:
    body = io.BytesIO()
    np.save(body, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return body.getvalue()


def url(address: str) -> Request:
    return json.dumps({"url": address}).encode(), JSON


def disguises(port: int) -> list[str]:
    hosts = [f"[{name}]" if ":" in name and "[" not in name else name for name in NAMED]
    return [f"http://{host}:{port}/" for host in hosts]


def forbidden(web: Web) -> dict[str, Request]:
    """What leads where we do not go: 403."""
    port = web.canary.port
    addresses = [
        *disguises(port),
        f"http://127.0.0.1:{port}#@photos.example.com/",
        f"http://localhost.:{port}@127.0.0.1:{port}/",
        f"http://localhost@127.0.0.1:{port}/",
        "https://169.254.169.254/latest/meta-data/iam/security-credentials/",
        "https://[fd00:ec2::254]/latest/meta-data/",
        "https://[::ffff:169.254.169.254]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[2002:a9fe:a9fe::]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://169.254.170.2/v2/credentials/",
        "https://100.100.100.200/latest/meta-data/",
        "https://168.63.129.16/machine",
        "https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.1.1/", "https://100.64.0.1/",
        "https://[fe80::1]/", "https://[fc00::1]/", "https://224.0.0.1/", "https://255.255.255.255/",
        "https://127.0.0.1/", "https://localhost.localdomain:22/", "https://example.com:8443/",
        "http://example.com/photo.jpg",
        "file:///etc/passwd", "ftp://example.com/a.jpg", "gopher://127.0.0.1:6379/_INFO", "data:image/png;base64,AA",
        web.url("to-canary"), web.url("to-metadata"), web.url("to-file"),
    ]  # fmt: skip
    found = {address: url(address) for address in addresses}
    return found | {"another bucket": (b'{"s3_uri": "s3://another-bucket/a.jpg"}', JSON)}


def malformed() -> dict[str, Request]:
    """What is not what it says: 400."""
    jpeg, whole = encoded(picture()), encoded(picture(), "PNG")
    bodies: dict[str, Request] = {
        "nothing": (b"", JPEG),
        "text": (b"<html>hello</html>", JPEG),
        "gif": (encoded(picture().convert("P"), "GIF"), JPEG),
        "half a jpeg": (jpeg[: len(jpeg) // 2], JPEG),
        "a jpeg's header": (jpeg[:20], JPEG),
        "half a png": (whole[: len(whole) // 2], "image/png"),
        "a png whose rows end early": (png(3000, 3000, b"\0" * 100), "image/png"),
        "a png with a text bomb": (png(10, 10, b"\0" * 310, text_bomb()), "image/png"),
        "a zip": (b"PK\x03\x04" + bytes(100), "image/png"),
        "no json": (b"not json", JSON),
        "a deep json": (b"[" * 100_000, JSON),
        "a json list": (b'["image"]', JSON),
        "a json number": (b"1" * 6000, JSON),
        "a json of 6 MB": (json.dumps({"image": "A" * (MAX_BODY - 16)}).encode(), JSON),
        "a json of 300,000 fields": (json.dumps(dict.fromkeys(map(str, range(300_000)), 0)).encode(), JSON),
        "an unknown field": (b'{"path": "/etc/passwd"}', JSON),
        "two fields": (json.dumps({"url": "https://example.com/", "image": "AA"}).encode(), JSON),
        "an image that is a number": (b'{"image": 5}', JSON),
        "an image that is null": (b'{"image": null}', JSON),
        "a url that is a list": (b'{"url": ["https://example.com/"]}', JSON),
        "no base64": (b'{"image": "%%%"}', JSON),
        "base64 of no image": (json.dumps({"image": base64.b64encode(b"x" * 9000).decode()}).encode(), JSON),
        "no url": url("not a url"),
        "a url without a host": url("https:///etc/passwd"),
        "a url with a line break": url("https://example.com/\r\nHost: 127.0.0.1"),
        "a url with a backslash": url("https://example.com\\@127.0.0.1/"),
        "a url with a bad port": url("https://example.com:99999/"),
        "no s3 uri": (b'{"s3_uri": "https://bucket/key"}', JSON),
        "an s3 uri without a key": (b'{"s3_uri": "s3://bucket"}', JSON),
        "no npy": (b"x" * 100, NPY),
        "an npy that lies about its size": (npy((60, 100_000, 100_000, 3)), NPY),
        "an npy of floats": (npy((2, 2, 3), bytes(48), "<f4"), NPY),
        "an npy with negative sides": (npy((-2, -2, 3), bytes(12)), NPY),
        "an npy of one dimension": (npy((12,), bytes(12)), NPY),
        "an npy with an empty photo": (npy((0, 2, 3)), NPY),
        "a pickle": (pickled(), NPY),
        "an npy whose header is code": (npy("__import__('os')"), NPY),
    }
    return bodies


def too_large() -> dict[str, Request]:
    """What has more bytes, pixels or photos than are read: 413."""
    return {
        "a png of 60 megapixels": (png(10_000, 6_000, b""), "image/png"),
        "a png of 2 gigapixels": (png(46_000, 46_000, b""), "image/png"),
        "a png of 4 gigapixels in one row": (png(2**31 - 1, 2, b""), "image/png"),
        "100 photos at once": (npy((100, 4, 4, 3), bytes(4800)), NPY),
    }


def failed_fetches(web: Web, hosting: Hosting) -> dict[str, Request]:
    """What cannot be fetched: 424."""
    pages = ("missing", "round", "cut", "drip", "drip-headers", "silent")
    return {
        **{page: url(web.url(page)) for page in pages},
        "a name that is none": url("https://no-such-host.invalid/"),
        "no such key": (json.dumps({"s3_uri": f"s3://{hosting.bucket}/absent.jpg"}).encode(), JSON),
    }


def test_each_hostile_request_gets_the_status_that_fits_and_the_endpoint_lives(
    hosting: Hosting, endpoint: str, web: Web
) -> None:
    expected: dict[str, tuple[Request, int]] = {}
    for requests, status in (
        (forbidden(web), 403),
        (malformed(), 400),
        (failed_fetches(web, hosting), 424),
        ({"text from a server": url(web.url("text"))}, 400),
        ({"a server that never ends": url(web.url("huge"))}, 413),
        (too_large(), 413),
        ({kind or "no type": (PHOTO, kind) for kind in ("image/gif", "text/html", "application/octet-stream")}, 415),
    ):
        expected |= {name: (request, status) for name, request in requests.items()}
    assert len(expected) > 80

    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda each: status_of(hosting, endpoint, *each[0]), expected.values())
    wrong = {
        name: (status, said)
        for (name, (_, status)), (got, said) in zip(expected.items(), answers, strict=True)
        if got != status
    }
    assert wrong == {}
    assert web.canary.visits == 0
    assert json.loads(hosting.invoke(endpoint, PHOTO, ContentType=JPEG))["count"] in range(1, 6)


def status_of(hosting: Hosting, endpoint: str, body: bytes, kind: str) -> tuple[int, str]:
    try:
        return 200, hosting.invoke(endpoint, body, ContentType=kind).decode()
    except ClientError as error:
        found: Mapping[str, Any] = error.response
        return found.get("OriginalStatusCode", 0), str(found.get("OriginalMessage", error))


def test_named_sources_are_fetched_from(hosting: Hosting, endpoint: str, web: Web) -> None:
    wanted = hosting.invoke(endpoint, PHOTO, ContentType=JPEG)
    uri = hosting.put("photos/ä b.jpg", PHOTO)
    for source in ({"url": web.url("photo")}, {"url": web.url("moved")}, {"s3_uri": uri}):
        assert hosting.invoke(endpoint, json.dumps(source).encode(), ContentType=JSON) == wanted


def test_what_accept_cannot_have_is_a_406(hosting: Hosting, endpoint: str) -> None:
    with pytest.raises(ClientError) as refused:
        hosting.invoke(endpoint, PHOTO, ContentType=JPEG, Accept="image/png")
    assert refused.value.response["OriginalStatusCode"] == 406  # type: ignore[typeddict-item]


def test_clients_that_never_finish_their_request_hold_nobody_up(
    hosting: Hosting, endpoint: str, running_cloud: RunningCloud
) -> None:
    (port_file,) = (running_cloud.home / "endpoints" / endpoint).glob("*/0/port")
    slow = [socket.create_connection(("127.0.0.1", int(Path(port_file).read_text()))) for _ in range(40)]
    for each in slow:
        each.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 9999\r\n\r\n\xff"
        )
    for _ in range(5):
        assert hosting.invoke(endpoint, PHOTO, ContentType=JPEG)
    for each in slow:
        each.close()
