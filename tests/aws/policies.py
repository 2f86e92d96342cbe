"""What IAM would say: policies as documents, and whether they allow a request."""

import fnmatch
import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tasks.plan.actions import S3_ACTIONS, actions_of
from tasks.plan.rehearsal import Request
from tests.installation import ROOT
from tests.recorded import S3Request

FOLDER = ROOT / "docs" / "aws"
NAMES = {
    "PARTITION": "aws",
    "REGION": "us-east-1",
    "ACCOUNT": "000000000000",
    "BUCKET": "binventory",
    "PHOTO_BUCKET": "warehouse",
    "ENDPOINT": "binventory",
    "MODEL_GROUP": "binventory",
    "ROLE": "arn:aws:iam::000000000000:role/binventory",
}
_TEMPLATE_NAMES = {
    "AWS::Partition": "PARTITION",
    "AWS::Region": "REGION",
    "AWS::AccountId": "ACCOUNT",
    "BucketName": "BUCKET",
    "PhotoBucket": "PHOTO_BUCKET",
    "EndpointName": "ENDPOINT",
    "ModelGroup": "MODEL_GROUP",
}
_ARN = "arn:aws:sagemaker:us-east-1:000000000000:"
_KINDS = {
    "TrainingJob": "training-job",
    "HyperParameterTuningJob": "hyper-parameter-tuning-job",
    "TransformJob": "transform-job",
    "Model": "model",
    "EndpointConfig": "endpoint-config",
    "Endpoint": "endpoint",
    "ModelPackageGroup": "model-package-group",
}


class _Template(yaml.SafeLoader):
    """Reads CloudFormation's short forms: a reference becomes the variable that policy.json has in its place."""


def _sub(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return re.sub(r"\$\{([\w:]+)\}", lambda found: f"${{{_TEMPLATE_NAMES.get(found[1], found[1])}}}", str(node.value))


def _if(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> Any:
    return loader.construct_sequence(node, deep=True)[-1]


_Template.add_constructor("!Sub", _sub)
_Template.add_constructor("!If", _if)
_Template.add_constructor("!Equals", _if)
_Template.add_constructor("!Ref", lambda loader, node: f"${{{node.value}}}")
_Template.add_constructor("!GetAtt", lambda loader, node: "${ROLE}" if node.value == "JobRole.Arn" else node.value)


def template(section: str = "Resources") -> dict[str, Any]:
    """The template's resources, or another of its sections."""
    loaded: dict[str, Any] = yaml.load((FOLDER / "binventory.yaml").read_text(), _Template)  # noqa: S506 - a SafeLoader
    found: dict[str, Any] = loaded[section]
    return found


def callers_policy() -> dict[str, Any]:
    """policy.json as it is."""
    document: dict[str, Any] = json.loads((FOLDER / "policy.json").read_text())
    return document


def jobs_policy() -> dict[str, Any]:
    """The policy of the role that jobs run as."""
    document: dict[str, Any] = template()["JobRole"]["Properties"]["Policies"][0]["PolicyDocument"]
    return document


def filled(policy: dict[str, Any]) -> "Policy":
    """A policy with its variables filled in."""
    text = re.sub(r"\$\{(\w+)\}", lambda found: NAMES[found[1]], json.dumps(policy))
    return Policy(json.loads(text))


class Policy:
    """A policy, asked as IAM is asked. Conditions are not looked at."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.statements = [
            (set(_listed(each["Action"])), _listed(each["Resource"]), each) for each in document["Statement"]
        ]

    @property
    def actions(self) -> set[str]:
        """All that it allows."""
        return {action for actions, _, _ in self.statements for action in actions}

    def allows(self, action: str, resource: str) -> bool:
        """Whether an action on a resource is allowed; ``*`` stands for an action that knows no resources."""
        return any(
            action in actions and any(fnmatch.fnmatchcase(resource, pattern) for pattern in resources)
            for actions, resources, _ in self.statements
        )


def needs(request: Request) -> Iterator[tuple[str, str]]:
    """The actions that a request to others than S3 needs, each with the ARN of what it is done to."""
    for action in actions_of(request):
        if action == "iam:PassRole":
            yield action, NAMES["ROLE"]
        else:
            yield action, _resource(request)


def s3_needs(request: S3Request) -> Iterator[tuple[str, str]]:
    """The same of a request to S3."""
    for action in S3_ACTIONS[request.operation]:
        on_bucket = action in ("s3:ListBucket", "s3:CreateBucket")
        yield action, f"arn:aws:s3:::{request.bucket}" + ("" if on_bucket else f"/{request.key}")


def _resource(request: Request) -> str:
    told = request.parameters
    if request.service == "logs":
        return f"arn:aws:logs:us-east-1:000000000000:log-group:{told['logGroupName']}:log-stream:"
    for member in ("ResourceArn", "ModelPackageArn"):
        if member in told:
            return str(told[member])
    if str(told.get("ModelPackageName", "")).startswith("arn:"):
        return str(told["ModelPackageName"])
    if request.operation == "CreateModelPackage":
        return f"{_ARN}model-package/{told['ModelPackageGroupName']}/1"
    if request.operation == "ListTrainingJobsForHyperParameterTuningJob":
        return f"{_ARN}hyper-parameter-tuning-job/{told['HyperParameterTuningJobName']}"
    if request.operation.startswith("List"):
        return "*"
    kind = re.sub("^(Create|Describe|Update|Delete|Invoke)", "", request.operation)
    return f"{_ARN}{_KINDS[kind]}/{told[f'{kind}Name']}"


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
