"""Checks the AWS Signature Version 4 of a request, and refuses as each service of AWS does."""

import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from localcloud.api.protocol import HttpRequest
from localcloud.errors import AwsError
from localcloud.host.keys import Keys

MAX_SKEW = timedelta(minutes=15)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/\s]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)"
    r"/aws4_request,\s*SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]+)"
)
_JSON_CODES = {
    "missing": ("MissingAuthenticationTokenException", 400),
    "incomplete": ("IncompleteSignatureException", 400),
    "unknown": ("UnrecognizedClientException", 400),
    "wrong": ("InvalidSignatureException", 400),
}
_REST_CODES = {reason: (code, 403) for reason, (code, _) in _JSON_CODES.items()}
_QUERY_CODES = {
    "missing": ("MissingAuthenticationToken", 403),
    "incomplete": ("IncompleteSignature", 400),
    "unknown": ("InvalidClientTokenId", 403),
    "wrong": ("SignatureDoesNotMatch", 403),
}
_CODES = {"json": _JSON_CODES, "rest-json": _REST_CODES, "query": _QUERY_CODES}


@dataclass(frozen=True)
class Authorization:
    """What a request's Authorization header says."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: list[str]
    signature: str


class Verifier:
    """Knows the one key and the one region of this cloud."""

    def __init__(self, keys: Keys, region: str) -> None:
        self._keys = keys
        self._region = region

    def verify(self, request: HttpRequest, service: str, protocol: str) -> None:
        """Raise the protocol's error when the request is not signed with our key for this service."""
        codes = _CODES[protocol]
        given = _authorization(request, codes)
        if not hmac.compare_digest(given.access_key_id, self._keys.access_key_id):
            raise AwsError(codes["unknown"][0], _UNKNOWN, codes["unknown"][1])
        problem = self._scope_problem(request, given, service)
        if problem is None and not hmac.compare_digest(self._expected(request, given), given.signature):
            problem = (
                "The request signature we calculated does not match the signature you provided. "
                "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
            )
        if problem is not None:
            raise AwsError(codes["wrong"][0], problem, codes["wrong"][1])

    def _scope_problem(self, request: HttpRequest, given: Authorization, service: str) -> str | None:
        if given.region != self._region:
            return f"Credential should be scoped to a valid region, not '{given.region}'. This is {self._region}."
        if given.service != service:
            return f"Credential should be scoped to correct service: '{service}'."
        if not {"host", "x-amz-date"} <= set(given.signed_headers):
            return "The headers 'host' and 'x-amz-date' must be signed."
        stamp = request.headers.get("x-amz-date", "")
        try:
            signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            return f"Date must be in ISO-8601 'basic format'. Got '{stamp}'."
        if abs(datetime.now(UTC) - signed_at) > MAX_SKEW:
            return f"Signature expired: {stamp} is not within 15 minutes of the current time."
        claimed = request.headers.get("x-amz-content-sha256")
        if claimed not in (None, "UNSIGNED-PAYLOAD") and claimed != sha256(request.body).hexdigest():
            return "The provided 'x-amz-content-sha256' header does not match what was computed."
        return None

    def _expected(self, request: HttpRequest, given: Authorization) -> str:
        query = f"?{request.query}" if request.query else ""
        signed = AWSRequest(
            method=request.method,
            url=f"http://{request.headers['host']}{request.path}{query}",
            headers={name: request.headers.get(name, "") for name in given.signed_headers},
            data=request.body,
        )
        signed.context["timestamp"] = request.headers["x-amz-date"]
        credentials = Credentials(self._keys.access_key_id, self._keys.secret_access_key)
        signer = SigV4Auth(credentials, given.service, given.region)
        to_sign = signer.string_to_sign(signed, signer.canonical_request(signed))
        return str(signer.signature(to_sign, signed))


_UNKNOWN = "The security token included in the request is invalid."


def _authorization(request: HttpRequest, codes: dict[str, tuple[str, int]]) -> Authorization:
    header = request.headers.get("authorization")
    if header is None:
        raise AwsError(codes["missing"][0], "Request is missing Authentication Token", codes["missing"][1])
    match = _AUTHORIZATION.fullmatch(header.strip())
    if match is None:
        code, status = codes["incomplete"]
        raise AwsError(code, "Authorization header must be a complete AWS4-HMAC-SHA256 signature.", status)
    return Authorization(
        access_key_id=match["key"],
        date=match["date"],
        region=match["region"],
        service=match["service"],
        signed_headers=match["headers"].split(";"),
        signature=match["signature"],
    )
