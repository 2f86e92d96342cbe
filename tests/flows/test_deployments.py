"""Everything that `prefect.yaml` deploys can be loaded, and can be run with the parameters that it names."""

import inspect
from typing import Any

import pytest
import yaml
from prefect.flows import Flow, load_flow_from_entrypoint
from pydantic import TypeAdapter

from tasks.data.sources import ABID_BUCKET
from tasks.object_store import is_unsigned
from tasks.pipeline.parameters import FullPipelineParameters
from tests.installation import ROOT

TEXT = (ROOT / "prefect.yaml").read_text().replace("{{ $BINVENTORY_BUCKET }}", "binventory")
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load(TEXT)["deployments"]


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
