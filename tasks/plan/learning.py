"""The stages up to a trained model, asked for in a rehearsal by the functions that ask for them in a run."""

from collections.abc import Collection

from tasks import code_archive
from tasks.data.demo_photos.bucket import demo_folder
from tasks.data.prepared_data import PrepareParameters
from tasks.data.sources import ABID_BUCKET
from tasks.features import features_script
from tasks.learning import LearnParameters
from tasks.pipeline.parameters import TuneAndTrainParameters
from tasks.plan.placeholders import DIGEST, RUN
from tasks.plan.plan import LOGS, Draft
from tasks.plan.storage import Storage, bucket, dataset_uri, read, s3, written
from tasks.settings import Settings
from tasks.training_job import JobInputs, code_uri, final_training, jobs_prefix, start_script
from tasks.tuning import start_search
from tasks.weights import weights_prefix
from training.features import can_stand_for_photos

_TRAINING = ("sagemaker DescribeTrainingJob", *LOGS)
_TUNING = (
    "sagemaker DescribeHyperParameterTuningJob",
    "sagemaker ListTrainingJobsForHyperParameterTuningJob",
    "sagemaker DescribeTrainingJob",
)
_BEST = "<best of tuning>"


def prepare(draft: Draft, parameters: PrepareParameters) -> None:
    """Photos from the source, dataset to the bucket: S3 only."""
    own, data = f"s3://{draft.settings.bucket}", dataset_uri(parameters, draft.settings)
    source = {"abid": f"s3://{ABID_BUCKET}"}.get(parameters.source, parameters.source)
    storage = bucket(own)
    if parameters.source == "demo":
        source = demo_folder(f"{own}-demo", photos=parameters.demo_photos, seed=parameters.seed)
        storage += [
            *bucket(f"{own}-demo"),
            *read(f"{own}-demo/", "is it ours?"),
            *written(f"{own}-demo/recipe.json", "a mark that it is"),
            *written(f"{source}/", "rendered photos, their records and the list of them"),
        ]
    else:
        storage.append(s3("HeadBucket", source, "is it there?"))
    storage += [
        *read(f"{source}/", "list, records and photos; only what is not here yet"),
        *read(f"{data}/", "what is there already"),
        *written(f"{data}/", "photos by split and count, packed shards, manifest, where photos were placed"),
        s3("DeleteObjects", f"{data}/", "photos that are not in the dataset any more"),
    ]
    with draft.stage("prepare", storage=storage) as stage:
        if parameters.source == "abid":
            stage.note = "AWS's own public bucket is read without credentials."


def learn(
    draft: Draft, parameters: TuneAndTrainParameters, wanted: Collection[str] = ("tune", "train", "debug")
) -> None:
    """Tune, train with what tuning found, judge: those that are wanted of the stages of ``flows.tune_and_train``."""
    here = draft.settings
    inputs = inputs_of(parameters, parameters, here)
    recipe = parameters.final_recipe(parameters.source, parameters.classes, parameters.seed, RUN)
    trial, sent = parameters.trial_recipe(recipe), _inputs_sent(inputs, parameters.backbone)
    records = read(f"s3://{here.bucket}/checkpoints/", "what the training recorded")
    if can_stand_for_photos(recipe) and {"tune", "train"} & {*wanted}:
        script = features_script(inputs, trial, here)
        with draft.stage("features", _TRAINING, [*sent, *read(script.outputs, "were they computed before?")]) as stage:
            start_script(script, here)
            stage.note = "Not asked for where these features were computed before."
        inputs, sent = inputs.model_copy(update={"features": f"{script.outputs}/{script.name}/output/model.tar.gz"}), []
    if "tune" in wanted:
        with draft.stage("tune", _TUNING, sent):
            start_search(inputs, trial, parameters.search(), here)
        sent = []
    if "train" in wanted:
        trained = [*sent, s3("GetObject", f"{jobs_prefix(here)}/", "the trained model")]
        watching = ("sagemaker StopTrainingJob",) if parameters.stop_on else ()
        with draft.stage("train", (*_TRAINING, *watching), [*trained, *(records if watching else [])]) as stage:
            start_script(final_training(inputs, recipe, here, parameters.recording), here)
            if here.debugger:
                stage.note = "Where the account has no Debugger, the job is asked for again without its members."
        stage.known_later("CreateTrainingJob", "HyperParameters", {"lr": _BEST, "batch_size": _BEST})
    if "debug" in wanted:
        with draft.stage("debug", ("sagemaker DescribeTrainingJob",), records):
            pass


def inputs_of(parameters: PrepareParameters, learning: LearnParameters, settings: Settings) -> JobInputs:
    """What jobs are given; the digests of data and weights are known when those are there."""
    shards = f"{dataset_uri(parameters, settings)}/shards"
    return JobInputs(
        run_id=RUN,
        code=code_uri(code_archive.training_code(), settings),
        weights=weights_prefix(learning.backbone, DIGEST, settings),
        train=f"{shards}/train/",
        valid=f"{shards}/valid/",
        data_digest=DIGEST,
    )


def _inputs_sent(inputs: JobInputs, backbone: str) -> list[Storage]:
    weights = f"{inputs.weights}{backbone}.pth"
    return [
        *written(inputs.code, "the training room"),
        s3("HeadObject", weights, "is it there?"),
        *written(weights, "pretrained weights, once"),
    ]
