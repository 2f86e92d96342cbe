"""Writes predictions in the type that the client accepts."""

import csv
import io
import json
from collections.abc import Callable

from serving.prediction import Prediction
from serving.refusal import Refusal

JSON, CSV = "application/json", "text/csv"
JSON_LINES = ("application/jsonlines", "application/x-ndjson", "application/jsonl")
Answer = Prediction | list[Prediction]


def write(answer: Answer, accept: str) -> tuple[str, str]:
    """The body and its content type: JSON (a list for a batch), JSON lines, or CSV.

    CSV has no header unless it is asked for with ``text/csv; header=present``; the columns are count, confidence,
    expected_value, out_of_range, model, and the probability of each count.

    Raises:
        Refusal: 406 when none of them is accepted.
    """
    for wanted, parameters in preferences(accept):
        for offered, writer in WRITERS.items():
            if wanted in (offered, "*/*", f"{offered.partition('/')[0]}/*", ""):
                return writer(answer, parameters), offered
    raise Refusal(406, f"answers are {', '.join(WRITERS)}, not {accept!r}")


def preferences(accept: str) -> list[tuple[str, dict[str, str]]]:
    """The types of an Accept header with their parameters, the preferred first; those with q=0 left out."""
    found = []
    for part in accept.split(","):
        kind, *rest = (item.strip().lower() for item in part.split(";"))
        parameters = {name.strip(): value.strip() for name, _, value in (item.partition("=") for item in rest)}
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        if quality > 0:
            found.append((quality, kind, parameters))
    return [(kind, parameters) for _, kind, parameters in sorted(found, key=lambda each: -each[0])]


def _listed(answer: Answer) -> list[Prediction]:
    return answer if isinstance(answer, list) else [answer]


def _json(answer: Answer, _: dict[str, str]) -> str:
    values = [each.to_dict() for each in answer] if isinstance(answer, list) else answer.to_dict()
    return json.dumps(values) + "\n"


def _json_lines(answer: Answer, _: dict[str, str]) -> str:
    return "".join(json.dumps(each.to_dict()) + "\n" for each in _listed(answer))


def _csv(answer: Answer, parameters: dict[str, str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = _listed(answer)
    if parameters.get("header") == "present":
        names = ["count", "confidence", "expected_value", "out_of_range", "model"]
        writer.writerow([*names, *(f"p{count}" for count in rows[0].probabilities)])
    for each in rows:
        plain = [each.count, each.confidence, each.expected_value, each.out_of_range, each.model]
        writer.writerow([*plain, *each.probabilities.values()])
    return text.getvalue()


WRITERS: dict[str, Callable[[Answer, dict[str, str]], str]] = {
    JSON: _json,
    **dict.fromkeys(JSON_LINES, _json_lines),
    CSV: _csv,
}
