"""A model is measured beside the one that serves; one that cannot be held against it waits for a person."""

import json

import boto3
import pytest
from prefect import flow

from serving import inference
from tasks.data.prepared_data import PreparedData
from tasks.evaluation.evaluate import compare_with_deployed, evaluate
from tasks.evaluation.looking import look
from tasks.evaluation.results import EvaluatedModel
from tasks.release.gate import judge
from tasks.release.serving_now import describe
from tasks.settings import Settings
from tests.serving.photos import archive
from tests.tasks.release.bench import PHOTOS, Bench, release
from training.errors import ModelError

NEW = "s3://bucket/models/new/model.tar.gz"


@flow(name="evaluate-in-test")
def evaluated(uri: str, data: PreparedData, endpoint: str, here: Settings) -> EvaluatedModel:
    return evaluate(uri, data, endpoint, here)


def test_a_model_is_held_against_the_one_that_serves(bench: Bench, endpoint: str) -> None:
    here = bench.here.model_copy(update={"serving_precision": "float32"})
    serving, cases = bench.model("serving")
    data = bench.data_that_fits("serving")
    worse, _ = bench.model("worse", files={"model.pth": bench.always_another("serving")})

    alone = evaluated(worse.uri, data, endpoint, here)
    assert (alone.comparison, alone.incomparable) == (None, None)
    assert judge(alone, NEW, here).status(here) == "Approved"

    release(serving, cases, endpoint, here)
    beside = evaluated(worse.uri, data, endpoint, here)
    assert beside.comparison is not None
    assert (beside.comparison.deployed, beside.comparison.version) == (serving.uri, "serving")
    assert (beside.comparison.accuracy, beside.comparison.n) == (1.0, PHOTOS // 2)
    assert beside.comparison.accuracy_gain == -1
    refused = judge(beside, NEW, here)
    assert refused.status(here) == "Rejected"
    assert "of the deployed model" in refused.text

    again = evaluated(serving.uri, data, endpoint, here)
    assert again.comparison is not None
    assert (again.comparison.accuracy_gain, again.comparison.accuracy_gain_interval) == (0, (0, 0))
    assert judge(again, NEW, here).status(here) == "Approved"

    card = json.loads((bench.folder / "serving" / "model.json").read_text())
    other = archive(
        bench.folder / "serving", **{"model.json": json.dumps(card | {"classes": [0, 1, 2, 3, 4]}).encode()}
    )
    key = serving.uri.partition(f"{here.bucket}/")[2]
    model = inference.model_fn(str(bench.folder / "serving"))
    seen = look(model, data, "test")

    def refused_to_compare() -> str:
        with pytest.raises(ModelError) as refusal:
            compare_with_deployed(model, seen, data, endpoint)
        return str(refusal.value)

    bench.hold_back("serving", ["00001", "00003"])  # it learned from the other four of the test split
    assert "only 2 of 6 are known to have been held back from it too" in refused_to_compare()
    bench.hold_back("serving", ["00001"], source="demo")  # its ids mean nothing here
    compared = compare_with_deployed(model, seen, data, endpoint)
    assert compared is not None
    assert compared.n == PHOTOS // 2
    bench.s3.delete_object(Bucket=here.bucket, Key=key.replace("model.tar.gz", "answers.parquet"))
    assert "which photos" in refused_to_compare()
    bench.s3.put_object(Bucket=here.bucket, Key=key, Body=other)
    assert "answers (0, 1, 2, 3, 4), this model (1, 2, 3, 4, 5)" in refused_to_compare()
    bench.s3.put_object(Bucket=here.bucket, Key=key, Body=b"no archive")
    assert "cannot be unpacked" in refused_to_compare()
    bench.s3.delete_object(Bucket=here.bucket, Key=key)
    assert "cannot be loaded" in refused_to_compare()
    config = describe(endpoint)
    assert config is not None
    boto3.client("sagemaker").delete_endpoint_config(EndpointConfigName=config.config)
    unsure = evaluated(worse.uri, data, endpoint, here)
    assert unsure.comparison is None
    verdict = judge(unsure, NEW, here)
    assert verdict.status(here) == "PendingManualApproval"
    assert "nothing says any more what endpoint" in verdict.text
