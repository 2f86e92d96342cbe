"""What a CreateTransformJob request asks for, with AWS's defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass, field

from localcloud.store import Document
from localcloud.transform.join import Join, join_of
from localcloud.transform.records import MEBIBYTE

MAX_STREAMED_BYTES = 1024 * MEBIBYTE  # what a server takes when MaxPayloadInMB is 0, which means no limit


@dataclass(frozen=True)
class Settings:
    """How objects are cut, sent, retried and put together again."""

    concurrent: int
    max_payload_mb: int
    multi_record: bool
    by_line: bool
    gzip: bool
    newline: bool
    retries: int
    timeout: float
    headers: dict[str, str]
    join: Join
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Document) -> Settings:
        """The settings of a job document."""
        source, target, client = job["TransformInput"], job["TransformOutput"], job.get("ModelClientConfig", {})
        headers = {"content-type": source.get("ContentType"), "accept": target.get("Accept")}
        return cls(
            concurrent=job.get("MaxConcurrentTransforms") or 1,
            max_payload_mb=job.get("MaxPayloadInMB", 6),
            multi_record=job.get("BatchStrategy", "MultiRecord") == "MultiRecord",
            by_line=source["SplitType"] == "Line",
            gzip=source["CompressionType"] == "Gzip",
            newline=target["AssembleWith"] == "Line",
            retries=client.get("InvocationsMaxRetries", 3),
            timeout=client.get("InvocationsTimeoutInSeconds", 600),
            headers={name: value for name, value in headers.items() if value},
            join=join_of(job),
            environment=_environment(job),
        )

    @property
    def limit(self) -> int:
        """The largest payload in bytes; 0 for no limit."""
        return self.max_payload_mb * MEBIBYTE

    @property
    def server_payload(self) -> int:
        """The largest request that the model server has to take, in bytes."""
        return self.limit or MAX_STREAMED_BYTES


def _environment(job: Document) -> dict[str, str]:
    """What AWS sets in the container; the last three only when the request names them."""
    environment = {"SAGEMAKER_BATCH": "true"}
    if "MaxPayloadInMB" in job:
        environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(job["MaxPayloadInMB"])
    if "BatchStrategy" in job:
        multi = job["BatchStrategy"] == "MultiRecord"
        environment["SAGEMAKER_BATCH_STRATEGY"] = "MULTI_RECORD" if multi else "SINGLE_RECORD"
    if "MaxConcurrentTransforms" in job:
        environment["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(job["MaxConcurrentTransforms"])
    return {**environment, **job.get("Environment", {})}
