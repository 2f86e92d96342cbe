"""The parts of a transform job that need no cloud: records, filters, joins and output names."""

import io
import json
from typing import Any

import pytest

from localcloud.errors import ValidationException
from localcloud.transform.filters import FilterError, parse_filter
from localcloud.transform.join import Join
from localcloud.transform.records import PayloadTooLargeError, assemble, base_of_prefix, line_payloads


def payloads(text: bytes, *, multi_record: bool, limit: int = 0) -> list[bytes]:
    return list(line_payloads(io.BytesIO(text), multi_record=multi_record, limit=limit))


def test_a_single_record_is_one_line() -> None:
    assert payloads(b"a\nbb\nc", multi_record=False, limit=10) == [b"a\n", b"bb\n", b"c"]


def test_several_records_fill_a_payload_up_to_the_limit() -> None:
    assert payloads(b"a\nbb\ncc\nd\n", multi_record=True, limit=5) == [b"a\nbb\n", b"cc\nd\n"]
    assert payloads(b"a\nbb\ncc\nd\n", multi_record=True) == [b"a\nbb\ncc\nd\n"]


def test_a_record_beyond_the_limit_is_an_error_in_awss_words() -> None:
    with pytest.raises(PayloadTooLargeError, match="Too much data for max payload size"):
        payloads(b"a\n" + b"b" * 20 + b"\n", multi_record=True, limit=5)


def test_line_assembly_ends_every_answer_with_one_newline() -> None:
    assert [assemble(answer, with_newline=True) for answer in (b"a", b"a\n")] == [b"a\n", b"a\n"]
    assert assemble(b"a", with_newline=False) == b"a"


@pytest.mark.parametrize(
    ("prefix", "keys", "base"),
    [
        ("in/", ["in/a.jpg", "in/b/c.jpg"], "in/"),
        ("in", ["in/a.jpg", "in/b/c.jpg"], "in/"),
        ("in/a.jpg", ["in/a.jpg"], "in/"),
        ("in/photo", ["in/photo1.jpg", "in/photos/2.jpg"], "in/"),
        ("", ["a.jpg"], ""),
    ],
)
def test_outputs_are_named_relative_to_the_prefix(prefix: str, keys: list[str], base: str) -> None:
    assert base_of_prefix(prefix, keys) == base


RECORD = {"id": 7, "features": [1, 2, 3], "more": {"a": 1, "b": 2}}


@pytest.mark.parametrize(
    ("path", "record", "selected"),
    [
        ("$", RECORD, RECORD),
        ("$.features", RECORD, [1, 2, 3]),
        ("$.more.*", RECORD, [1, 2]),
        ("$['id','features']", RECORD, {"id": 7, "features": [1, 2, 3]}),
        ("$.more['a']", RECORD, 1),
        ("$[1]", [5, 6, 7], 6),
        ("$[-1]", [5, 6, 7], 7),
        ("$[0,2]", [5, 6, 7], [5, 7]),
        ("$[1:]", [5, 6, 7, 8], [6, 7, 8]),
        ("$[:1]", [5, 6, 7, 8], [5, 6]),
        ("$[1:2]", [5, 6, 7, 8], [6, 7]),
        ("$[0,2:]", [5, 6, 7, 8], [5, 7, 8]),
    ],
)
def test_a_filter_selects_as_aws_documents(path: str, record: Any, selected: Any) -> None:
    assert parse_filter(path, "InputFilter")(record) == selected


@pytest.mark.parametrize("path", ["id", "$.a[?(@.b)]", "$..id", "$['a'", "$[a]"])
def test_a_filter_that_aws_does_not_support_is_refused_by_name(path: str) -> None:
    with pytest.raises(ValidationException, match="OutputFilter"):
        parse_filter(path, "OutputFilter")


@pytest.mark.parametrize(("path", "record"), [("$.id", {"a": 1}), ("$[5]", [1]), ("$[0:9]", [1]), ("$[0]", {"a": 1})])
def test_a_record_without_what_the_filter_asks_for_is_an_error(path: str, record: Any) -> None:
    with pytest.raises(FilterError):
        parse_filter(path, "InputFilter")(record)


def test_csv_is_joined_by_appending_columns() -> None:
    join = Join({"InputFilter": "$[1:]", "JoinSource": "Input"}, "text/csv", "text/csv", by_line=True)
    payload = b"id1,1,2\nid2,3,4\n"
    assert join.request(payload) == b"1,2\n3,4\n"
    assert join.output(payload, b"0.5\n0.7\n") == b"id1,1,2,0.5\nid2,3,4,0.7\n"


def test_json_is_joined_under_sagemaker_output() -> None:
    processing = {"InputFilter": "$.features", "JoinSource": "Input", "OutputFilter": "$['id','SageMakerOutput']"}
    join = Join(processing, "application/json", "application/json", by_line=False)
    payload = json.dumps(RECORD).encode()
    assert json.loads(join.request(payload)) == [1, 2, 3]
    assert json.loads(join.output(payload, b'{"count": 3}')) == {"id": 7, "SageMakerOutput": {"count": 3}}


def test_json_that_is_no_object_is_joined_in_a_new_one() -> None:
    join = Join({"JoinSource": "Input"}, "application/jsonlines", "application/jsonlines", by_line=True)
    assert json.loads(join.output(b"[1, 2]\n", b'"x"\n')) == {"SageMakerInput": [1, 2], "SageMakerOutput": "x"}


def test_a_line_separator_in_a_json_line_is_no_end_of_it() -> None:
    join = Join({"JoinSource": "Input"}, "application/jsonlines", "application/jsonlines", by_line=True)
    joined = join.output('{"a": "one\u2028two"}\n'.encode(), b"1\n")
    assert json.loads(joined) == {"a": "one\u2028two", "SageMakerOutput": 1}


def test_as_many_results_as_records_are_needed_to_join() -> None:
    join = Join({"JoinSource": "Input"}, "text/csv", "text/csv", by_line=True)
    with pytest.raises(FilterError, match="2 records were sent, but 1 results came back"):
        join.output(b"1\n2\n", b"1\n")
