"""Cutting an input object into request payloads, and naming its output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

MEBIBYTE = 1024 * 1024


class PayloadTooLargeError(Exception):
    """A record, or an object that is not split, is larger than `MaxPayloadInMB`. AWS's own words."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"Too much data for max payload size ({limit // MEBIBYTE} MB)")


def line_payloads(file: BinaryIO, *, multi_record: bool, limit: int) -> Iterator[bytes]:
    """The request bodies of an object that is split by line, in order.

    Each is one line, or with `multi_record` as many lines as fit into `limit` bytes. Lines keep their newline.
    A limit of 0 means none. Raises PayloadTooLargeError at a line that is longer than the limit.
    """
    batch = bytearray()
    for line in _lines(file, limit):
        if batch and (not multi_record or (limit and len(batch) + len(line) > limit)):
            yield bytes(batch)
            batch.clear()
        batch += line
    if batch:
        yield bytes(batch)


def _lines(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """Lines of a binary file, read so that a file without newlines costs no memory."""
    while line := file.readline(limit + 1 if limit else -1):
        if limit and len(line) > limit:
            raise PayloadTooLargeError(limit)
        yield line


def assemble(answer: bytes, *, with_newline: bool) -> bytes:
    """An answer as it is written to the output: `AssembleWith` Line ends it with a newline."""
    return answer + b"\n" if with_newline and not answer.endswith(b"\n") else answer


def base_of_prefix(prefix: str, keys: list[str]) -> str:
    """What is cut off the keys found under a prefix to name their outputs.

    A prefix that names a folder, with or without its slash, is cut off whole; one that names an object or the
    beginning of some names, up to its last slash.
    """
    if prefix.endswith("/") or not prefix:
        return prefix
    if all(key.startswith(f"{prefix}/") for key in keys):
        return f"{prefix}/"
    return prefix[: prefix.rfind("/") + 1]
