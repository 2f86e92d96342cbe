"""A person counts what the night flagged: ``python -m flows.review --help``."""

import signal
import sys
from pathlib import Path

from rich.text import Text

from flows.command_line import FORESEEN, console, parse, tell
from tasks.ledger.export import export_ledger
from tasks.ledger.ledger import Ledger
from tasks.review.labels import export_labels
from tasks.review.serve import ReviewParameters, make_review, open_socket, serve
from tasks.services import use_cloud
from tasks.settings import settings


def main() -> int:
    """Serve the page until Ctrl-C, or export what was answered, or the ledger; returns the exit code."""
    parameters = parse(ReviewParameters, "python -m flows.review")
    try:
        review(parameters)
    except FORESEEN as error:
        tell(error)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def review(parameters: ReviewParameters) -> None:
    """Serve the page until Ctrl-C, or export what was answered, or the ledger."""
    here = settings()
    ledger = Ledger.open(here)
    if parameters.export:
        _export_labels(ledger, parameters.export)
    if parameters.export_ledger:
        rows = export_ledger(ledger, Path(parameters.export_ledger))
        console.print(f"{rows:,} rows are in {parameters.export_ledger}", soft_wrap=True, highlight=False)
    if parameters.export or parameters.export_ledger:
        return
    use_cloud(here)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    page = make_review(parameters, ledger)
    with open_socket(parameters) as listening:
        host, port = listening.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        if page.token:
            console.print(
                Text("Warning:", style="bold yellow"),
                "other machines can reach the page, and nothing but a proxy with TLS encrypts what they send. Give the "
                "link, which holds its token, only to those who count.",
            )
            address += f"?token={page.token}"
        console.print(f"Open {address}", soft_wrap=True, highlight=False)
        serve(page, listening)


def _export_labels(ledger: Ledger, path: str) -> None:
    written = export_labels(ledger, Path(path))
    console.print(f"{written.labels} labels are in {path}", soft_wrap=True)
    if written.contradictory:
        console.print(
            f"Left out: {', '.join(written.contradictory)}. There are several photos of that name, with "
            "different counts.",
            soft_wrap=True,
        )


if __name__ == "__main__":
    raise SystemExit(main())
