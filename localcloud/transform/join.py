"""`DataProcessing` of a transform job: what of a record the model gets, and what of it the output keeps.

Source: "Associate Prediction Results with Input Records" in the SageMaker developer guide.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from localcloud.errors import ValidationException
from localcloud.store import Document
from localcloud.transform.filters import FilterError, parse_filter

CSV = "text/csv"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
OUTPUT = "SageMakerOutput"
INPUT = "SageMakerInput"


class Join:
    """Filters and joins the records of one payload."""

    def __init__(self, processing: Document, content_type: str, accept: str, *, by_line: bool) -> None:
        self._input_filter = parse_filter(processing.get("InputFilter", "$"), "InputFilter")
        self._output_filter = parse_filter(processing.get("OutputFilter", "$"), "OutputFilter")
        self._with_input = processing.get("JoinSource") == "Input"
        self._content_type = content_type
        self._accept = accept
        self._by_line = by_line

    @property
    def does_nothing(self) -> bool:
        """Whether payloads and answers go through unchanged."""
        return self._input_filter.keeps_all and self._output_filter.keeps_all and not self._with_input

    def request(self, payload: bytes) -> bytes:
        """What the model gets of a payload. Raises FilterError."""
        if self._input_filter.keeps_all:
            return payload
        records = self._read(payload, self._content_type)
        return self._write([self._input_filter(record) for record in records], self._content_type)

    def output(self, payload: bytes, answer: bytes) -> bytes:
        """What the output keeps of a payload and its answer. Raises FilterError."""
        results = self._read(answer, self._accept)
        if self._with_input:
            records = self._read(payload, self._content_type)
            if len(records) != len(results):
                raise FilterError(f"{len(records)} records were sent, but {len(results)} results came back")
            pairs = zip(records, results, strict=True)
            results = [_joined(record, result) for record, result in pairs]
        return self._write([self._output_filter(result) for result in results], self._accept)

    def _read(self, data: bytes, content_type: str) -> list[Any]:
        try:
            text = data.decode()
            if content_type == CSV:
                return [row for row in csv.reader(io.StringIO(text)) if row]
            if self._by_line or content_type == JSON_LINES:
                return [json.loads(line) for line in text.split("\n") if line.strip()]
            return [json.loads(text)]
        except (ValueError, csv.Error) as error:
            raise FilterError(f"not valid {content_type}: {error}") from error

    def _write(self, records: list[Any], content_type: str) -> bytes:
        if content_type == CSV:
            text = io.StringIO()
            rows = [record if isinstance(record, list) else [record] for record in records]
            csv.writer(text, lineterminator="\n").writerows(rows)
            return text.getvalue().encode()
        return "\n".join(json.dumps(record) for record in records).encode()


def check_join(request: Document) -> None:
    """Refuse what AWS refuses of a CreateTransformJob request with DataProcessing."""
    join = join_of(request)
    if join.does_nothing:
        return
    content_type = request["TransformInput"].get("ContentType")
    accept = request["TransformOutput"].get("Accept")
    kinds = (CSV, JSON, JSON_LINES)
    if content_type not in kinds or accept not in kinds:
        raise ValidationException(
            f"DataProcessing needs ContentType and Accept to be one of {', '.join(kinds)}; "
            f"they are {content_type} and {accept}"
        )
    split, assemble = request["TransformInput"]["SplitType"], request["TransformOutput"]["AssembleWith"]
    if CSV in (content_type, accept) and (split, assemble) != ("Line", "Line"):
        raise ValidationException("DataProcessing of text/csv needs SplitType Line and AssembleWith Line")


def join_of(job: Document) -> Join:
    """The filters of a job. Raises ValidationException for a JSONPath that AWS does not support either."""
    source, target = job["TransformInput"], job["TransformOutput"]
    return Join(
        job.get("DataProcessing", {}),
        source.get("ContentType", ""),
        target.get("Accept", ""),
        by_line=source["SplitType"] == "Line",
    )


def _joined(record: Any, result: Any) -> Any:
    if isinstance(record, list) and isinstance(result, list):
        return [*record, *result]
    if isinstance(record, dict):
        return {**record, OUTPUT: result}
    return {INPUT: record, OUTPUT: result}
