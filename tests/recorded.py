"""What an installation really asked of the cloud, read from the journal of its embedded one."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from tasks.plan.actions import S3_ACTIONS, actions_of
from tasks.plan.rehearsal import Request

PLATFORM = "object_store"
"""How localcloud's own S3 client calls itself: what SageMaker does as the jobs' role. Ours: binventory, or boto3's."""

_S3_OPERATIONS = {
    ("GET", False): "ListObjectsV2",
    ("HEAD", False): "HeadBucket",
    ("PUT", False): "CreateBucket",
    ("POST", False): "DeleteObjects",
    ("GET", True): "GetObject",
    ("HEAD", True): "HeadObject",
    ("PUT", True): "PutObject",
    ("DELETE", True): "DeleteObject",
}


@dataclass(frozen=True)
class S3Request:
    """One request to S3."""

    operation: str
    bucket: str
    key: str
    agent: str


@dataclass
class Recording:
    """Requests in order; S3's apart, by who sent them."""

    requests: list[Request] = field(default_factory=list)
    s3: list[S3Request] = field(default_factory=list)
    jobs_s3: list[S3Request] = field(default_factory=list)

    def __add__(self, later: "Recording") -> "Recording":
        """Both, one after the other."""
        return Recording(self.requests + later.requests, self.s3 + later.s3, self.jobs_s3 + later.jobs_s3)

    def of(self, operation: str) -> list[dict[str, Any]]:
        """The parameters of all requests of an operation."""
        return [each.parameters for each in self.requests if each.operation == operation]

    @property
    def actions(self) -> set[str]:
        """The IAM actions that the requests of whoever runs it need."""
        s3 = {action for request in self.s3 for action in S3_ACTIONS[request.operation]}
        return s3 | {action for request in self.requests for action in actions_of(request)}

    @property
    def run(self) -> str:
        """The run that asked, by its first job."""
        return str(self.of("CreateTrainingJob")[0]["TrainingJobName"])[1:14]


def read_journal(file: Path) -> Recording:
    """Read the journal of an embedded cloud."""
    found = Recording()
    for line in map(json.loads, file.read_text().splitlines()):
        if line["service"] == "s3":
            request = _s3_request(line)
            (found.jobs_s3 if PLATFORM in request.agent else found.s3).append(request)
        else:
            found.requests.append(Request.model_validate(line))
    return found


def _s3_request(line: dict[str, str]) -> S3Request:
    bucket, _, key = unquote(line["path"]).strip("/").partition("/")
    operation, asked = _S3_OPERATIONS.get((line["method"], bool(key)), ""), parse_qs(line["query"], True)
    if "uploads" in asked:
        operation = "CreateMultipartUpload"
    elif "uploadId" in asked:
        names = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        operation = names[line["method"]]
    assert operation, line
    return S3Request(operation, bucket, key, line["agent"])
