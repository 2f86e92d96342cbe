"""Answers of a transform job that are not where they were looked for: AWS's pages disagree on where it puts them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import obstore

from tasks.data.fetch import transfer_errors
from tasks.object_store import open_store

SHOWN = 3


def match_outputs(there: Iterable[str], expected: Mapping[str, str]) -> dict[str, str]:
    """Say of outputs whose they are, by the longest end of the key, folder by folder; what fits two is nobody's.

    Args:
        there: Keys below the output prefix.
        expected: Photos by the key that was expected of each.
    """
    fits: defaultdict[str, set[str]] = defaultdict(set)
    for name, photo in expected.items():
        for end in _ends(name):
            fits[end].add(photo)
    outputs: defaultdict[str, list[str]] = defaultdict(list)
    for key in there:
        longest = next((fits[end] for end in _ends(key) if end in fits), set())
        if len(longest) == 1:
            outputs[next(iter(longest))].append(key)
    return {keys[0]: photo for photo, keys in outputs.items() if len(keys) == 1}


def _ends(key: str) -> Iterator[str]:
    """The ends of a key, the longest first.

    >>> list(_ends("a/b/1.jpg.out"))
    ['a/b/1.jpg.out', 'b/1.jpg.out', '1.jpg.out']
    """
    parts = key.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def list_outputs(uri: str) -> list[str]:
    """Keys below an output prefix.

    Raises:
        TransferError: it could not be listed this time.
        SourceError: S3 refuses.
    """
    with transfer_errors(f"listing {uri}"):
        return [item["path"] for page in obstore.list(open_store(uri)) for item in page]


def explain(uri: str, expected: Mapping[str, str], there: list[str]) -> str:
    """Where answers were looked for in vain, and what lies there, in one line."""
    found = ", ".join(there[:SHOWN]) + (f" and {len(there) - SHOWN} more" if len(there) > SHOWN else "")
    return (
        f"the job is Completed, and no answer of it can be told to be of one photo. They were looked for as "
        f"{uri}/{next(iter(expected))}, for one; below {uri}/ lies {found or 'nothing'}"
    )
