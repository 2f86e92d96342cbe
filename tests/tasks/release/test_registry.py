"""The registry finds the newest model that was let in, and remembers why others were not."""

import pytest

from serving import answers
from serving.refusal import Refusal
from tasks.release import registry
from tasks.settings import Settings
from tests.installation import Installation
from training.errors import ModelError


def test_the_registry_is_told_every_type_that_the_container_answers_in() -> None:
    with pytest.raises(Refusal) as refused:
        answers.write([], "image/jpeg")
    assert str(refused.value).startswith(f"answers are {', '.join(registry.ANSWER_TYPES)}, not")
    assert [answers.write([], kind)[1] for kind in registry.ANSWER_TYPES] == registry.ANSWER_TYPES


def registration(name: str) -> registry.Registration:
    return registry.Registration(
        name=name,
        uri=f"s3://somewhere/{name}/model.tar.gz",
        image="pytorch-inference",
        environment={"SAGEMAKER_PROGRAM": "inference.py"},
        evaluation_uri=f"s3://somewhere/{name}/evaluation.json",
        facts={"accuracy": "0.41", "code_version": "abc, with (odd) characters", "run_id": "261125-120000"},
    )


def test_the_newest_approved_model_is_found(here: Settings) -> None:
    with pytest.raises(ModelError, match="approved"):
        registry.approved_model(here)
    first = registry.register(registration("m1"), "Approved", "passed", here)
    registry.register(registration("m2"), "Rejected", "accuracy 20 % is below the floor", here)
    third = registry.register(registration("m3"), "PendingManualApproval", "waits for a person", here)
    assert registry.approved_model(here) == first
    assert [model.name for model in registry.models(here)] == ["m3", "m2", "m1"]
    assert registry.models(here)[1].reason == "accuracy 20 % is below the floor"

    registry.set_status(third.arn, "Approved", "looked at by Ada")
    assert registry.approved_model(here).name == "m3"
    assert registry.approved_model(here).facts["code_version"].startswith("abc  with  odd")


def test_a_model_is_registered_once_however_often_a_task_is_retried(here: Settings) -> None:
    first = registry.register(registration("m1"), "Approved", "passed", here)
    registry.set_status(first.arn, "Rejected", "a person\nsaid so")
    again = registry.register(registration("m1"), "Approved", "passed", here)
    assert (again.arn, again.status, again.reason) == (first.arn, "Rejected", "a person said so")
    assert registry.find_model("1", here) == registry.find_model(first.arn, here) == again
    for absent in ("2", "x", f"{first.arn}9"):
        with pytest.raises(ModelError, match="has no model"):
            registry.find_model(absent, here)


def test_a_model_is_registered_while_others_change_the_registry(here: Settings, house: Installation) -> None:
    for operation in ("CreateModelPackage", "UpdateModelPackage"):
        house.localcloud("faults", "conflict", "2", "--operation", operation)
    made = registry.register(registration("m1"), "Rejected", "too small", here)
    assert (made.version, made.status, made.reason) == (1, "Rejected", "too small")
    assert "ConflictException" not in house.localcloud("faults", "list")


def test_the_sagemaker_model_of_a_package_is_made_anew_when_it_is_gone(here: Settings) -> None:
    model = registry.register(registration(f"{here.bucket}-m"), "Approved", "passed", here)
    assert registry.serving_model(model, here) == registry.serving_model(model, here) == model.name


def test_no_sagemaker_model_is_made_anew_of_a_package_that_was_turned_away(here: Settings) -> None:
    model = registry.register(registration(f"{here.bucket}-m"), "Rejected", "too small", here)
    with pytest.raises(ModelError, match=r"model 1 is Rejected, .*--model 1 --approve REASON"):
        registry.serving_model(model, here)
