"""What was asked of the cloud, request by request: ``journal.jsonl`` in the state folder.

It is written while it is there; ``up --journal`` puts it there. The S3 proxy writes its requests into the same file
(see ``host/s3_proxy.py``): ``{"service": "s3", "method", "path", "query", "agent"}``.
"""

import json
from pathlib import Path
from typing import Any


class Journal:
    """Appends the requests that were valid, as ``{"service", "operation", "parameters"}``."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, service: str, operation: str, parameters: dict[str, Any]) -> None:
        """Remember one request, if there is a journal; bodies are left out."""
        if not self._file.exists():
            return
        told = {name: value for name, value in parameters.items() if not isinstance(value, bytes)}
        line = json.dumps({"service": service, "operation": operation, "parameters": told})
        with self._file.open("a") as file:
            file.write(f"{line}\n")
