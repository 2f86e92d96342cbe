"""What names look like: the patterns that forms check, and the words in which a refusal says them."""

from typing import Any

NAME = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"
"""What AWS takes as the name of an endpoint, a job or a group of models."""

ENDPOINT = r"^[a-z0-9](-*[a-z0-9]){0,62}$"
"""The same without capital letters: AWS may write an endpoint's ARN in small ones, as others report. A policy that
names it with capitals does not match that, so that who makes the endpoint could not look at its tags."""

MODEL = r"^(newest|\d+|arn:aws[a-z-]*:sagemaker:.+)$"
RUN_ID = r"^\d{6}-\d{6}$"

LOOKS_LIKE = "looks_like"
"""Where a field keeps the words, in its ``json_schema_extra``."""

LOOKS_LIKE_A_NAME: dict[str, Any] = {
    LOOKS_LIKE: "a name of letters, digits and hyphens, at most 63, with no hyphen at its ends"
}
LOOKS_LIKE_AN_ENDPOINT: dict[str, Any] = {
    LOOKS_LIKE: "a name of small letters, digits and hyphens, at most 63, with no hyphen at its ends; no capitals, "
    "since AWS may write an endpoint's ARN in small letters, and IAM policies go by it"
}
LOOKS_LIKE_A_MODEL: dict[str, Any] = {LOOKS_LIKE: "newest, the number of a version, or the ARN of a model package"}
LOOKS_LIKE_A_RUN: dict[str, Any] = {LOOKS_LIKE: "the name of a folder in <home>/runs, like 261125-120000"}
