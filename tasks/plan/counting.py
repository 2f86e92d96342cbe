"""The stages that count, asked for in a rehearsal."""

from tasks.data.prepared_data import PrepareParameters
from tasks.jobs import job_name
from tasks.nightly.count import ask_for_counts
from tasks.nightly.parameters import NightParameters
from tasks.plan.placeholders import RUN
from tasks.plan.plan import LOGS, Draft, Stage
from tasks.plan.release import a_model
from tasks.plan.storage import Storage, dataset_uri, read, s3, written
from tasks.release.registry import serving_model

_JOBS = (
    "sagemaker DescribeTransformJob",
    "sagemaker ListTransformJobs",
    "sagemaker StopTransformJob",
    *LOGS,
)
_FIND_MODEL = ("sagemaker ListModelPackages", "sagemaker DescribeModelPackage")
_ASK_ENDPOINT = (
    "sagemaker DescribeEndpoint",
    "sagemaker ListTags",
    "sagemaker DescribeEndpointConfig",
    "sagemaker DescribeModel",
    "sagemaker-runtime InvokeEndpoint",
)
_MADE_ANEW = "CreateModel only where somebody deleted the approved model's."


def hold_back(draft: Draft, parameters: PrepareParameters, most: int) -> None:
    """Put photos of the test split where a first night finds them."""
    held = f"s3://{draft.settings.bucket}/nightly/{RUN}/held-back/"
    files = [
        s3("ListObjectsV2", f"{dataset_uri(parameters, draft.settings)}/", "test photos"),
        s3("CopyObject", held, f"at most {most} of them"),
        *written(held, "their record"),
    ]
    with draft.stage("hold back", storage=files):
        pass


def count_night(draft: Draft, parameters: NightParameters) -> None:
    """Find, count and report: the stages of ``flows.nightly_count`` that ask for something."""
    night, prefix = f"s3://{draft.settings.bucket}/nightly/{RUN}", parameters.prefix
    record = parameters.record or ""
    elsewhere = read(record, "the record") if record.startswith("s3://") else []
    with draft.stage("find", storage=[*read(prefix, "photos and their record"), *elsewhere]):
        pass
    if parameters.endpoint:
        asked = [s3("GetObject", prefix, "photos")]
        with draft.stage("count", (*_FIND_MODEL, *_ASK_ENDPOINT), asked) as stage:
            serving_model(a_model(draft.settings), draft.settings)
            stage.note = (
                "InvokeEndpoint for every new photo; those above 6 MB, which no endpoint takes, are counted by jobs: "
                f"the plan without --endpoint says what they need. {_MADE_ANEW}"
            )
    else:
        with draft.stage("count", (*_FIND_MODEL, *_JOBS), _files_of_jobs(night, parameters, draft)) as stage:
            _ask_for_jobs(stage, parameters, draft)
    with draft.stage("report", storage=written(f"{night}/", "report.html and exceptions.csv")):
        pass


def _ask_for_jobs(stage: Stage, parameters: NightParameters, draft: Draft) -> None:
    serving_model(a_model(draft.settings), draft.settings)
    name, model = job_name(RUN, "night", ""), "<approved model>"
    ask_for_counts(name, model, RUN, draft.settings, large=False, instances=parameters.instances)
    stage.note = (
        f"A job for every {parameters.photos_per_job} new photos, those above 6 MB apart; what a job leaves over is "
        f"tried in two more. {_MADE_ANEW}"
    )


def _files_of_jobs(night: str, parameters: NightParameters, draft: Draft) -> list[Storage]:
    copies = f"{night}/copies/"
    return [
        s3("HeadBucket", f"s3://{draft.settings.bucket}", "is it there?"),
        *written(f"{night}/", "lists of photos"),
        s3("GetObject", f"{night}/", "predictions"),
        s3("GetObject", parameters.prefix, "photos that a job left over"),
        s3("CopyObject", copies, "photos whose keys a job's list cannot carry"),
        *read(copies, "which of them to delete"),
        s3("DeleteObjects", copies, "afterwards"),
    ]
