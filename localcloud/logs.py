"""CloudWatch Logs, as far as reading a job's log takes it: groups, streams, and their events.

A stream is a file of JSON lines (``t`` in milliseconds, ``m`` the message) in ``HOME/logs``, under its group.
Tokens say where in the file reading goes on, so a log can be followed while it grows.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote

from localcloud.errors import AwsError
from localcloud.host.shim import ends_whole
from localcloud.log_filter import matcher
from localcloud.operations import Cloud, operation
from localcloud.store import Document

T = TypeVar("T")
MAX_EVENTS = 10_000
MAX_PAGE_BYTES = 1024 * 1024
EVENT_OVERHEAD_BYTES = 26


@dataclass(frozen=True)
class Event:
    """One line of a log. ``start`` and ``end`` are its bytes in the file."""

    timestamp: int
    message: str
    start: int
    end: int


def register(cloud: Cloud, group: str, stream: str, log: Path) -> None:
    """Make ``log``, a file of JSON lines that may come to be later, readable as a stream.

    The file moves into the logs' folder and ``log`` becomes a link to it, so a job's folder can be deleted
    without its log.
    """
    kept = _path(cloud, group, stream)
    kept.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.is_file() and not log.is_symlink():
        log.rename(kept)
    kept.touch()
    if not log.is_symlink():
        log.symlink_to(kept)


def write(log: Path, message: str) -> None:
    """Append a message of the service's own to a log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    now = int(time.time() * 1000)
    lines = "".join(json.dumps({"t": now, "m": line}) + "\n" for line in message.splitlines())
    with log.open("ab") as file:
        file.write((b"" if ends_whole(log) else b"\n") + lines.encode())


def read(log: Path, start: int = 0) -> Iterator[Event]:
    """The whole lines of a log from a byte on."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            for line in file:
                end = start + len(line)
                if line.endswith(b"\n") and (content := _content(line)) is not None:
                    yield Event(content["t"], content["m"], start, end)
                start = end
    except FileNotFoundError:
        return


def _content(line: bytes) -> Document | None:
    """What a line says; None for one that a full disk or a kill has cut, which must not hide the others."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return None


@operation("logs", "DescribeLogGroups")
def describe_log_groups(cloud: Cloud, request: Document) -> Document:
    """The groups whose names begin with a prefix or contain a pattern."""
    prefix, pattern = request.get("logGroupNamePrefix", ""), request.get("logGroupNamePattern", "")
    names = [name for name in _groups(cloud) if name.startswith(prefix) and pattern.lower() in name.lower()]
    part, token = _part(names, request, 50)
    groups = [_described_group(cloud, name) for name in part]
    return {"logGroups": groups, "nextToken": token}


@operation("logs", "DescribeLogStreams")
def describe_log_streams(cloud: Cloud, request: Document) -> Document:
    """A group's streams, by name or by their last event."""
    group = _group(cloud, request)
    prefix, by_time = request.get("logStreamNamePrefix", ""), request.get("orderBy") == "LastEventTime"
    if by_time and prefix:
        raise AwsError("InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.", 400)
    streams = [_described_stream(cloud, group, name) for name in _streams(cloud, group) if name.startswith(prefix)]
    if by_time:
        streams.sort(key=lambda stream: stream.get("lastEventTimestamp", 0))
    if request.get("descending"):
        streams.reverse()
    part, token = _part(streams, request, 50)
    return {"logStreams": part, "nextToken": token}


@operation("logs", "GetLogEvents")
def get_log_events(cloud: Cloud, request: Document) -> Document:
    """A stream's events, from a token or from one end, with tokens to go on in both directions."""
    group = _group(cloud, request)
    log = _existing(cloud, group, request["logStreamName"])
    limit = request.get("limit", MAX_EVENTS)
    token = request.get("nextToken")
    forward = request.get("startFromHead", False) if token is None else token.startswith("f/")
    place = _place(token)
    events = [
        event
        for event in read(log, place if forward and place is not None else 0)
        if _within(event, request) and (forward or place is None or event.end <= place)
    ]
    part = _fitting(events, limit, forward=forward)
    here = place if place is not None else 0
    return {
        "events": [_described_event(event, event.timestamp) for event in part],
        "nextForwardToken": f"f/{part[-1].end if part else here:056d}",
        "nextBackwardToken": f"b/{part[0].start if part else here:056d}",
    }


@operation("logs", "FilterLogEvents")
def filter_log_events(cloud: Cloud, request: Document) -> Document:
    """The events of several streams that match a pattern, by time."""
    group = _group(cloud, request)
    names = request.get("logStreamNames") or [
        name for name in _streams(cloud, group) if name.startswith(request.get("logStreamNamePrefix", ""))
    ]
    matches = matcher(request.get("filterPattern", ""))
    found: list[Document] = []
    for name in names:
        for event in read(_existing(cloud, group, name)):
            if _within(event, request) and matches(event.message):
                identity = f"{name}:{event.start}"
                found.append({"logStreamName": name, "eventId": identity, **_described_event(event, event.timestamp)})
    found.sort(key=lambda entry: entry["timestamp"])
    part, token = _part(found, request, MAX_EVENTS)
    searched = [{"logStreamName": name, "searchedCompletely": True} for name in names]
    return {"events": part, "searchedLogStreams": searched, "nextToken": token}


def _path(cloud: Cloud, group: str, stream: str) -> Path:
    return cloud.home / "logs" / quote(group, safe="") / (quote(stream, safe="") + ".jsonl")


def _groups(cloud: Cloud) -> list[str]:
    return sorted(unquote(folder.name) for folder in (cloud.home / "logs").iterdir())


def _streams(cloud: Cloud, group: str) -> list[str]:
    folder = cloud.home / "logs" / quote(group, safe="")
    return sorted(unquote(path.name.removesuffix(".jsonl")) for path in folder.iterdir())


def _group(cloud: Cloud, request: Document) -> str:
    name = request.get("logGroupName") or request.get("logGroupIdentifier", "").split(":log-group:")[-1]
    if not name:
        raise AwsError("InvalidParameterException", "Specify either logGroupName or logGroupIdentifier.", 400)
    if not (cloud.home / "logs" / quote(name, safe="")).is_dir():
        raise AwsError("ResourceNotFoundException", "The specified log group does not exist.", 400)
    return str(name)


def _existing(cloud: Cloud, group: str, stream: str) -> Path:
    path = _path(cloud, group, stream)
    if not path.is_file():
        raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.", 400)
    return path


def _described_group(cloud: Cloud, name: str) -> Document:
    folder = cloud.home / "logs" / quote(name, safe="")
    stored = sum(path.stat().st_size for path in folder.iterdir())
    arn = f"arn:aws:logs:{cloud.region}:{cloud.account}:log-group:{name}"
    return {
        "logGroupName": name,
        "creationTime": int(folder.stat().st_ctime * 1000),
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupArn": arn,
        "storedBytes": stored,
        "logGroupClass": "STANDARD",
    }


def _described_stream(cloud: Cloud, group: str, name: str) -> Document:
    path = _path(cloud, group, name)
    arn = f"arn:aws:logs:{cloud.region}:{cloud.account}:log-group:{group}:log-stream:{name}"
    first = next(read(path), None)
    modified = int(path.stat().st_mtime * 1000)
    stream = {
        "logStreamName": name,
        "creationTime": modified if first is None else first.timestamp,
        "arn": arn,
        "storedBytes": 0,
        "uploadSequenceToken": "0",
    }
    if first is not None:
        stream |= {"firstEventTimestamp": first.timestamp, "lastIngestionTime": modified}
        stream |= {"lastEventTimestamp": max(first.timestamp, modified)}
    return stream


def _described_event(event: Event, ingested: int) -> Document:
    return {"timestamp": event.timestamp, "message": event.message, "ingestionTime": ingested}


def _within(event: Event, request: Document) -> bool:
    after, before = request.get("startTime"), request.get("endTime")
    return (after is None or event.timestamp >= after) and (before is None or event.timestamp < before)


def _fitting(events: list[Event], limit: int, *, forward: bool) -> list[Event]:
    """As many events as an answer may hold, from the start or from the end."""
    ordered = events if forward else events[::-1]
    size, count = 0, 0
    for event in ordered[:limit]:
        size += len(event.message.encode()) + EVENT_OVERHEAD_BYTES
        if size > MAX_PAGE_BYTES and count:
            break
        count += 1
    part = ordered[:count]
    return part if forward else part[::-1]


def _place(token: str | None) -> int | None:
    if token is None:
        return None
    direction, _, place = token.partition("/")
    if direction not in ("f", "b") or not place.isdecimal():
        raise AwsError("InvalidParameterException", "The specified nextToken is invalid.", 400)
    return int(place)


def _part(items: list[T], request: Document, default: int) -> tuple[list[T], str | None]:
    token = request.get("nextToken", "0")
    if not token.isdecimal():
        raise AwsError("InvalidParameterException", "The specified nextToken is invalid.", 400)
    start, size = int(token), int(request.get("limit", default))
    end = start + size
    return items[start:end], (str(end) if end < len(items) else None)
