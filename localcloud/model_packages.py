"""The model registry: groups, and the versions of a model in them with their approval."""

from localcloud import resources
from localcloud.errors import AwsError, ValidationException
from localcloud.operations import Cloud, operation
from localcloud.resources import Kind
from localcloud.store import Document, Filter, NameTakenError, NoSuchResourceError, Row, declare_status_member

GROUP = Kind(
    "model-package-group",
    "ModelPackageGroup",
    "model package group",
    job_errors=False,
    absent="ModelPackageGroup {arn} does not exist.",
)
PACKAGE = Kind("model-package", "ModelPackage", "model package", has_status=False, job_errors=False)
UNVERSIONED = ""  # the parent of packages that are in no group
_CREATOR = {"UserProfileName": "localcloud"}
_CHANGEABLE = (
    "ModelApprovalStatus", "ApprovalDescription", "InferenceSpecification", "SourceUri", "ModelCard",
    "ModelLifeCycle", "ModelPackageRegistrationType",
)  # fmt: skip

declare_status_member(PACKAGE.key, "ModelApprovalStatus")


@operation("sagemaker", "CreateModelPackageGroup")
def create_group(cloud: Cloud, request: Document) -> Document:
    """A new, empty group."""
    try:
        arn = resources.create(cloud, GROUP, request, CreatedBy=_CREATOR, ModelPackageGroupStatus="Completed")
    except ValidationException as error:
        raise ValidationException(f"Model Package Group already exists: {error.message}") from None
    return {"ModelPackageGroupArn": arn}


@operation("sagemaker", "DescribeModelPackageGroup")
def describe_group(cloud: Cloud, request: Document) -> Document:
    """One group."""
    return resources.describe(cloud, GROUP, _group_name(request["ModelPackageGroupName"]))


@operation("sagemaker", "ListModelPackageGroups")
def list_groups(cloud: Cloud, request: Document) -> Document:
    """Groups, newest first."""
    return resources.listing(cloud, GROUP, request, "ModelPackageGroupSummaryList", lambda row: row.document)


@operation("sagemaker", "DeleteModelPackageGroup")
def delete_group(cloud: Cloud, request: Document) -> Document:
    """Forget a group that has no versions left."""
    name = _group_name(request["ModelPackageGroupName"])
    with cloud.store.transaction():
        if cloud.store.find(PACKAGE.key, Filter(parent=name, limit=1)):
            raise AwsError("ConflictException", f"Cannot delete {name}: it still has model packages.", 400)
        resources.delete(cloud, GROUP, name)
    return {}


@operation("sagemaker", "CreateModelPackage")
def create_package(cloud: Cloud, request: Document) -> Document:
    """A new version in a group, or a package of its own name."""
    if ("ModelPackageName" in request) == ("ModelPackageGroupName" in request):
        raise ValidationException("Specify either ModelPackageName or ModelPackageGroupName, and not both.")
    if "InferenceSpecification" not in request and "SourceUri" not in request:
        raise ValidationException("A model package needs an InferenceSpecification or a SourceUri.")
    if "Tags" in request and "ModelPackageGroupName" in request:
        raise ValidationException("A version has the tags of its group: leave out Tags, or ModelPackageGroupName.")
    with cloud.store.transaction():
        if created := _created_by(cloud, request.get("ClientToken")):
            return {"ModelPackageArn": created}
        placed = _place(cloud, request)
        document = {key: value for key, value in request.items() if key not in ("ClientToken", *placed)}
        approval = request.get("ModelApprovalStatus", "PendingManualApproval")
        document |= {
            "ModelApprovalStatus": approval,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
            "CreatedBy": _CREATOR,
            "_Token": request.get("ClientToken"),
        }
        return {"ModelPackageArn": _store(cloud, {**document, **placed})}


@operation("sagemaker", "DescribeModelPackage")
def describe_package(cloud: Cloud, request: Document) -> Document:
    """One model package, by its ARN or name."""
    return find_package(cloud, request["ModelPackageName"])


@operation("sagemaker", "ListModelPackages")
def list_packages(cloud: Cloud, request: Document) -> Document:
    """The versions of a group, or the packages that are in none; newest first."""
    if "ModelPackageGroupName" in request:
        parent: str | None = _group_name(request["ModelPackageGroupName"])
        resources.describe(cloud, GROUP, str(parent))
    else:
        parent = None if request.get("ModelPackageType") in ("Both", "Versioned") else UNVERSIONED
    wanted = {**request, "StatusEquals": request.get("ModelApprovalStatus")}
    part = resources.page(cloud, PACKAGE, wanted, parent=parent)
    return {"ModelPackageSummaryList": [_summary(row) for row in part.rows], "NextToken": part.next_token}


@operation("sagemaker", "UpdateModelPackage")
def update_package(cloud: Cloud, request: Document) -> Document:
    """Approve or reject a package, or change what is known about it."""

    def change(package: Document) -> None:
        package.update({key: request[key] for key in _CHANGEABLE if key in request})
        properties = {
            **package.get("CustomerMetadataProperties", {}),
            **request.get("CustomerMetadataProperties", {}),
        }
        for key in request.get("CustomerMetadataPropertiesToRemove", []):
            properties.pop(key, None)
        if properties:
            package["CustomerMetadataProperties"] = properties
        else:
            package.pop("CustomerMetadataProperties", None)
        package["LastModifiedBy"] = _CREATOR
        package.setdefault("LastModifiedTime", 0.0)

    arn = request["ModelPackageArn"]
    try:
        cloud.store.update(PACKAGE.key, _package_name(cloud, arn), change)
    except NoSuchResourceError:
        raise _no_package(arn) from None
    return {"ModelPackageArn": arn}


@operation("sagemaker", "DeleteModelPackage")
def delete_package(cloud: Cloud, request: Document) -> Document:
    """Forget a package; its version number is not given again."""
    if not cloud.store.delete(PACKAGE.key, _package_name(cloud, request["ModelPackageName"])):
        raise _no_package(request["ModelPackageName"])
    return {}


def find_package(cloud: Cloud, name_or_arn: str) -> Document:
    """A model package by its ARN or name. Raises ValidationException."""
    document = cloud.store.get(PACKAGE.key, _package_name(cloud, name_or_arn))
    if document is None:
        raise _no_package(name_or_arn)
    return document


def _created_by(cloud: Cloud, token: str | None) -> str | None:
    """The ARN of the package that an earlier send of the same request has made."""
    made = cloud.store.find(PACKAGE.key) if token is not None else []
    return next((row.arn for row in made if row.document.get("_Token") == token), None)


def _place(cloud: Cloud, request: Document) -> Document:
    """The names of a new package, and its version in its group."""
    if "ModelPackageName" in request:
        return {"ModelPackageName": request["ModelPackageName"]}
    name = _group_name(request["ModelPackageGroupName"])
    group = resources.update(cloud, GROUP, name, _count_version)
    return {"ModelPackageName": name, "ModelPackageGroupName": name, "ModelPackageVersion": group["_Versions"]}


def _count_version(group: Document) -> None:
    group["_Versions"] = group.get("_Versions", 0) + 1


def _store(cloud: Cloud, document: Document) -> str:
    version = document.get("ModelPackageVersion")
    name = document["ModelPackageName"] if version is None else f"{document['ModelPackageName']}/{version}"
    tags = document.pop("Tags", [])
    arn = cloud.arn(f"{PACKAGE.key}/{name.lower()}")
    document |= {"ModelPackageArn": arn, "CreationTime": resources.now()}
    try:
        cloud.store.insert(PACKAGE.key, name, arn, document, parent=document.get("ModelPackageGroupName", UNVERSIONED))
    except NameTakenError:
        raise AwsError("ConflictException", f"Model package {arn} already exists.", 400) from None
    cloud.store.set_tags(arn, {tag["Key"]: tag["Value"] for tag in tags})
    return arn


def _summary(row: Row) -> Document:
    return row.document


def _group_name(name_or_arn: str) -> str:
    return name_or_arn.rpartition("/")[2]


def _package_name(cloud: Cloud, name_or_arn: str) -> str:
    found = cloud.store.locate(name_or_arn)
    return name_or_arn if found is None else found[1]


def _no_package(name: str) -> ValidationException:
    return ValidationException(f"ModelPackage {name} does not exist.")
