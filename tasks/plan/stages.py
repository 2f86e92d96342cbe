"""The stages, asked for in a rehearsal by the same functions that ask for them in a run."""

from tasks import code_archive
from tasks.batch_transform import folder_of, start_count
from tasks.data.prepared_data import PrepareParameters
from tasks.data.sources import ABID_BUCKET
from tasks.features import features_script
from tasks.jobs import job_name
from tasks.learning import LearnParameters
from tasks.nightly.count import ask_for_counts
from tasks.nightly.parameters import NightParameters
from tasks.plan.placeholders import DIGEST, RUN
from tasks.plan.plan import Draft, Storage
from tasks.release import deployment
from tasks.release.package import create_model, registration
from tasks.release.package import folder_of as model_folder
from tasks.release.registry import RegisteredModel, Status, register
from tasks.release.scaling import scale
from tasks.release.serving_now import archive_behind
from tasks.settings import Settings
from tasks.training_job import JobInputs, code_uri, final_training, start_script
from tasks.tuning import start_search
from tasks.weights import weights_prefix
from training.features import can_stand_for_photos

MODEL = f"binventory-{RUN}-{DIGEST}"
_LOGS = ("logs DescribeLogStreams", "logs GetLogEvents")
_TRAINING = ("sagemaker DescribeTrainingJob", *_LOGS)
_TUNING = (
    "sagemaker DescribeHyperParameterTuningJob",
    "sagemaker ListTrainingJobsForHyperParameterTuningJob",
    "sagemaker DescribeTrainingJob",
)
_SERVING = (
    "sagemaker DescribeEndpoint",
    "sagemaker ListTags",
    "sagemaker DescribeEndpointConfig",
    "sagemaker DescribeModel",
    "sagemaker DescribeModelPackage",
)
_ROLLBACK = ("sagemaker UpdateEndpoint", "sagemaker DeleteEndpoint", "sagemaker DeleteEndpointConfig")


def prepare(draft: Draft, parameters: PrepareParameters) -> None:
    """Photos from the source, dataset to the bucket: S3 only."""
    own, data = f"s3://{draft.settings.bucket}", dataset_uri(parameters, draft.settings)
    storage = [_s3("HeadBucket", own, "is it there?"), _s3("CreateBucket", own, "only if it is not")]
    source = parameters.source
    if source == "demo":
        source = f"{own}-demo"
        storage += [
            _s3("HeadBucket", source, "is it there?"),
            _s3("CreateBucket", source, "only if it is not"),
            _s3("PutObject", f"{source}/", "rendered photos, their records and the list of them"),
            _s3("DeleteObjects", f"{source}/", "photos of another seed or number"),
        ]
    elif source == "abid":
        source = f"s3://{ABID_BUCKET}"
        storage.append(_s3("HeadBucket", source, "is it there?"))
    storage += [
        _s3("ListObjectsV2", f"{source}/", "what there is"),
        _s3("GetObject", f"{source}/", "list, records and photos; only what is not here yet"),
        _s3("ListObjectsV2", f"{data}/", "what is there already"),
        _s3("GetObject", f"{data}/manifest.json", "what it was made of"),
        *_written(f"{data}/", "photos by split and count, packed shards, manifest"),
        _s3("DeleteObjects", f"{data}/", "photos that are not in the dataset any more"),
    ]
    with draft.stage("prepare", storage=storage) as stage:
        if source == f"s3://{ABID_BUCKET}":
            stage.note = "AWS's own public bucket is read without credentials."


def dataset_uri(parameters: PrepareParameters, settings: Settings) -> str:
    """Where a dataset lies."""
    return f"s3://{settings.bucket}/datasets/{parameters.dataset_name}"


def inputs_of(parameters: PrepareParameters, learning: LearnParameters, settings: Settings) -> JobInputs:
    """What jobs are given; the digests of data and weights are known when those are there."""
    data = dataset_uri(parameters, settings)
    return JobInputs(
        run_id=RUN,
        code=code_uri(code_archive.training_code(), settings),
        weights=weights_prefix(learning.backbone, DIGEST, settings),
        train=f"{data}/shards/train/",
        valid=f"{data}/shards/valid/",
        data_digest=DIGEST,
    )


def learn(draft: Draft, parameters: PrepareParameters, learning: LearnParameters) -> None:
    """Tune, train with what tuning found, judge: the stages of ``flows.tune_and_train``."""
    here = draft.settings
    inputs = inputs_of(parameters, learning, here)
    recipe = learning.final_recipe(parameters.source, parameters.classes, parameters.seed, RUN)
    trial, jobs = learning.trial_recipe(recipe), f"s3://{here.bucket}/jobs"
    sent = [
        *_written(inputs.code, "the training room"),
        _s3("HeadObject", f"{inputs.weights}{learning.backbone}.pth", "is it there?"),
        *_written(f"{inputs.weights}{learning.backbone}.pth", "pretrained weights, once"),
    ]
    if can_stand_for_photos(recipe):
        script = features_script(inputs, trial, here)
        sent.append(_s3("ListObjectsV2", f"s3://{here.bucket}/features/{DIGEST}/", "were they computed before?"))
        with draft.stage("features", _TRAINING, sent) as stage:
            start_script(script, here)
            stage.note = "Not sent where these features were computed before."
        archive = f"s3://{here.bucket}/features/{DIGEST}/{job_name(RUN, 'features', '')}/output/model.tar.gz"
        inputs, sent = inputs.model_copy(update={"features": archive}), []
    with draft.stage("tune", _TUNING, sent):
        start_search(inputs, trial, learning.search(), here)
    results = [_s3("GetObject", f"{jobs}/", "the trained model")]
    with draft.stage("train", _TRAINING, results) as stage:
        start_script(final_training(inputs, recipe, here), here)
    best = "<best of tuning>"
    stage.known_later("CreateTrainingJob", "HyperParameters", {"lr": best, "batch_size": best})
    if here.debugger:
        stage.note = "Where the account has no Debugger, the job is asked for again without its members."
    checkpoints = f"s3://{here.bucket}/checkpoints/"
    records = [_s3("ListObjectsV2", checkpoints, "what"), _s3("GetObject", checkpoints, "the training recorded")]
    with draft.stage("debug", ("sagemaker DescribeTrainingJob",), records):
        pass


def serve(draft: Draft, parameters: PrepareParameters, endpoint: str, photos: int) -> None:
    """Evaluate, register, deploy, and prove with so many photos: stages of ``flows.full_pipeline``."""
    here, data = draft.settings, dataset_uri(parameters, draft.settings)
    read = [_s3("ListObjectsV2", f"{data}/", "valid and test photos"), _s3("GetObject", f"{data}/", "the same")]
    with draft.stage("evaluate", _SERVING, [*read, _s3("GetObject", f"s3://{here.bucket}/", "both models")]) as stage:
        archive_behind(endpoint)
        stage.note = "Computed on this machine, beside the model that is deployed, if one is."
    status: Status = "PendingManualApproval" if here.approval == "manual" else "Approved"
    made = registration(MODEL, {"run_id": RUN}, here)
    written = _written(f"{model_folder(MODEL, here)}/", "model.tar.gz, its evaluation, its smoke test")
    with draft.stage("register", storage=written) as stage:
        create_model(made, here)
        registered = register(made, status, "<reason>", here)
        stage.note = "Rejected instead, and no further, where the gate does not let the model in."
    stage.known_later("CreateModelPackage", "CustomerMetadataProperties", "<what evaluation measured>")
    if here.approval == "manual":
        return
    deploy(draft, registered, endpoint, photos)


def count_batch(draft: Draft, parameters: PrepareParameters) -> None:
    """Count a batch of test photos."""
    here, data = draft.settings, dataset_uri(parameters, draft.settings)
    if here.approval == "manual":
        return
    read = [_s3("ListObjectsV2", f"{data}/", "valid and test photos"), _s3("GetObject", f"{data}/", "the same")]
    manifest = f"{folder_of(job_name(RUN, 'count', ''), here)}/"
    batch = [*read, *_written(manifest, "the list of photos"), _s3("GetObject", manifest, "predictions")]
    with draft.stage("transform", ("sagemaker DescribeTransformJob", *_LOGS), batch):
        start_count(job_name(RUN, "count", ""), MODEL, RUN, here)


def deploy(draft: Draft, model: RegisteredModel, endpoint: str, photos: int | None) -> None:
    """Put a model behind an endpoint and prove it: the stages of ``flows.deploy``, and a part of others."""
    here = draft.settings
    read = [_s3("GetObject", f"s3://{here.bucket}/", "smoke test and its photos")]
    with draft.stage("deploy", ("sagemaker-runtime InvokeEndpoint", *_SERVING, *_ROLLBACK), read) as stage:
        deployment.remember.fn(endpoint, model.name)
        config = deployment.create_config.fn(model, RUN, here)
        deployment.put_config_behind(endpoint, config, None, RUN, here)
        scale(endpoint, deployment.VARIANT, here)
        deployment.mark_as_proven.fn(endpoint, config)
        asked = "" if photos is None else f" It is asked about {photos} photos (InvokeEndpoint)."
        stage.note = f"UpdateEndpoint instead of CreateEndpoint where the endpoint is there.{asked}"


def deploy_registered(draft: Draft, endpoint: str) -> None:
    """Find a registered model and deploy it: ``flows.deploy``."""
    made = registration(MODEL, {"run_id": RUN}, draft.settings)
    with draft.stage("find model", ("sagemaker ListModelPackages", "sagemaker DescribeModelPackage")):
        pass
    model = RegisteredModel(
        arn="<model package ARN>",
        version=0,
        status="Approved",
        name=made.name,
        uri=made.uri,
        reason="",
        facts=made.facts,
    )
    deploy(draft, model, endpoint, None)


def count_night(draft: Draft, parameters: NightParameters) -> None:
    """Find, count and report: the stages of ``flows.nightly_count`` that ask for something."""
    here, night = draft.settings, f"s3://{draft.settings.bucket}/nightly/{RUN}"
    found = [_s3("ListObjectsV2", parameters.prefix, "photos"), _s3("GetObject", parameters.prefix, "their record")]
    with draft.stage("find", storage=found):
        pass
    besides, storage = ["sagemaker ListModelPackages", "sagemaker DescribeModelPackage"], list[Storage]()
    if not parameters.endpoint:
        storage = [_s3("HeadBucket", f"s3://{here.bucket}", "is it there?"), *_written(f"{night}/", "lists of photos")]
        storage += [
            _s3("GetObject", f"{night}/", "predictions"),
            _s3("GetObject", parameters.prefix, "photos that a job left over"),
            _s3("CopyObject", f"{night}/copies/", "photos whose keys a job's list cannot carry"),
            _s3("ListObjectsV2", f"{night}/copies/", "which of them to delete"),
            _s3("DeleteObjects", f"{night}/copies/", "afterwards"),
        ]
        besides += ["sagemaker DescribeModel", "sagemaker DescribeTransformJob", *_LOGS]
    else:
        besides.append("sagemaker-runtime InvokeEndpoint")
        storage.append(_s3("GetObject", parameters.prefix, "photos"))
    with draft.stage("count", besides, storage) as stage:
        if not parameters.endpoint:
            name = job_name(RUN, "night", "")
            ask_for_counts(name, "<approved model>", RUN, here, large=False, instances=parameters.instances)
            stage.note = (
                f"One job for every {parameters.photos_per_job} new photos, those above 6 MB apart; what a job leaves "
                "over is tried in two more."
            )
        else:
            stage.note = "One InvokeEndpoint for every new photo."
    with draft.stage("report", storage=_written(f"{night}/", "report.html and exceptions.csv")):
        pass


def _s3(operation: str, uri: str, what: str) -> Storage:
    return Storage(operation=operation, uri=uri, what=what)


def _written(uri: str, what: str) -> list[Storage]:
    """An upload; large objects go in parts."""
    return [_s3("PutObject", uri, what), _s3("AbortMultipartUpload", uri, "where a large one breaks off")]
