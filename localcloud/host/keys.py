"""The access key of an installation: made once, readable by its owner only."""

import json
import os
import secrets
import string
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Keys:
    """An access key as AWS has it; the secret is not shown by ``repr``."""

    access_key_id: str
    secret_access_key: str

    def __repr__(self) -> str:
        return f"Keys({self.access_key_id})"


def load_or_make(path: Path) -> Keys:
    """Read the key file, or make one with mode 0600."""
    try:
        return Keys(**json.loads(path.read_text()))
    except FileNotFoundError:
        pass
    alphabet = string.ascii_uppercase + "234567"
    keys = Keys(
        access_key_id="AKIA" + "".join(secrets.choice(alphabet) for _ in range(16)),
        secret_access_key=secrets.token_urlsafe(30),
    )
    partial = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(keys), file)
    partial.rename(path)
    return keys
