"""Everything that `prefect.yaml` deploys can be loaded, and can be run with the parameters that it names."""

import inspect
import re
from typing import Any

import pytest
import yaml
from prefect.flows import Flow, load_flow_from_entrypoint
from pydantic import TypeAdapter

from flows.teardown import TeardownParameters
from tasks import prefect_worker
from tasks.data.sources import ABID_BUCKET
from tasks.object_store import is_unsigned
from tasks.pipeline.parameters import FullPipelineParameters
from tasks.settings import Settings
from tests.installation import ROOT

TEXT = (ROOT / "prefect.yaml").read_text().replace("{{ $BINVENTORY_BUCKET }}", "binventory")
FILE: dict[str, Any] = yaml.safe_load(TEXT)
DEPLOYMENTS: list[dict[str, Any]] = FILE["deployments"]
TIMEZONE = "{{ $BINVENTORY_TIMEZONE }}"
ONE_AT_A_TIME = {"limit": 1, "collision_strategy": "CANCEL_NEW"}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_it_loads_and_takes_its_parameters(deployment: dict[str, Any]) -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint(str(ROOT / deployment["entrypoint"]))
    signature = inspect.signature(flow.fn, eval_str=True)
    given = deployment.get("parameters", {})  # without any, the UI asks for them
    signature.bind_partial(**given)
    for name, value in given.items():
        TypeAdapter(signature.parameters[name].annotation).validate_python(value)


def test_every_deployment_says_what_it_is_for() -> None:
    assert all(deployment["description"] and "binventory" in deployment["tags"] for deployment in DEPLOYMENTS)
    assert len({deployment["name"] for deployment in DEPLOYMENTS}) == len(DEPLOYMENTS)


def test_retraining_asks_the_public_bucket_for_no_file_list_which_it_has_not() -> None:
    [weekly] = [deployment for deployment in DEPLOYMENTS if deployment["name"] == "weekly-retraining"]
    parameters = FullPipelineParameters(**weekly["parameters"]["parameters"])
    assert parameters.source == "abid"
    assert parameters.all
    assert parameters.per_class_limit
    assert is_unsigned(ABID_BUCKET, parameters.source_endpoint)  # reached from the embedded cloud, and without keys


def test_a_worker_of_our_pool_runs_all_of_it_where_the_code_is() -> None:
    assert {deployment["work_pool"]["name"] for deployment in DEPLOYMENTS} == {prefect_worker.POOL}
    [step] = FILE["pull"]
    assert step == {"prefect.deployments.steps.set_working_directory": {"directory": "{{ $PWD }}"}}


def test_what_runs_by_itself_and_when() -> None:
    schedules = {each["name"]: each["schedules"] for each in DEPLOYMENTS if "schedules" in each}
    assert schedules == {
        "nightly-count": [{"slug": "nightly", "cron": "30 2 * * *", "timezone": TIMEZONE}],
        "weekly-retraining": [{"slug": "weekly", "cron": "0 5 * * 0", "timezone": TIMEZONE, "active": False}],
    }
    limits = {each["name"]: each["concurrency_limit"] for each in DEPLOYMENTS if "concurrency_limit" in each}
    assert limits == dict.fromkeys(schedules, ONE_AT_A_TIME)


def test_a_teardown_that_is_started_without_a_word_deletes_nothing() -> None:
    [teardown] = [deployment for deployment in DEPLOYMENTS if deployment["name"] == "teardown"]
    assert "parameters" not in teardown
    assert TeardownParameters(run_id="261125-120000").delete is False


def test_the_variables_that_it_is_filled_from_are_given_to_the_deployment_of_make_up() -> None:
    named = set(re.findall(r"{{ \$(\w+) }}", (ROOT / "prefect.yaml").read_text()))
    given = prefect_worker.variables(Settings(bucket="bins", timezone="Europe/Berlin"), "http://x/api")
    assert named <= given.keys()
    assert (given["BINVENTORY_BUCKET"], given["BINVENTORY_TIMEZONE"]) == ("bins", "Europe/Berlin")
