"""Which model a run counts and judges with, and which model and thresholds a page names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from tasks.ledger.database import open_engine
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Count
from tasks.nightly import model as choosing
from tasks.nightly.judge import Policy
from tasks.nightly.model import judged_by, model_of_run
from tasks.nightly.night import Night
from tasks.nightly.outcomes import Outcome, read_outcomes, write_outcomes
from tasks.nightly.parameters import NightParameters
from tasks.nightly.policy import policy_facts
from tasks.release.registry import RegisteredModel
from tasks.settings import Settings
from tests.ledgers import MOMENT, count_row
from training.errors import ModelError

POLICIES = {name: Policy(chosen_on=f"photos of {name}") for name in ("m1", "m2")}


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Night]:
    """A run "tonight", after runs "r1" and "r2" of models of those numbers, and "r3" of one that is not registered."""

    def named(name: str, settings: Settings) -> RegisteredModel | None:
        about = {"arn": "arn", "version": 1, "status": "Approved", "name": name, "uri": "s3://m/1", "reason": ""}
        if name not in POLICIES:
            return None
        return RegisteredModel.model_validate(about | {"facts": policy_facts(POLICIES[name])})

    monkeypatch.setattr(choosing, "named_model", named)
    ledger = Ledger(open_engine(make_url(f"sqlite+pysqlite:///{tmp_path}/ledger.db")))
    numbers = {"night": MOMENT.date(), "prefix": "s3://bucket/x", "finished_at": MOMENT, "totals": {}, "mix": {}}
    for number in (1, 2, 3):
        ledger.record_night(numbers | {"run": f"r{number}", "model": f"m{number}", "confidence": None})
    yield Night(NightParameters(prefix="s3://bucket/x"), ledger, Settings(), "tonight", tmp_path, MOMENT.date())
    ledger.engine.dispose()


class Registry:
    """Two models, of which at first the first is the newest that is approved, and serves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.approved, self.known, self.served = "m1", {"m1", "m2"}, "m1"
        monkeypatch.setattr(choosing, "approved_model", lambda settings: self.find(f"arn:{self.approved}", settings))
        monkeypatch.setattr(choosing, "find_model", self.find)
        monkeypatch.setattr(choosing, "archive_behind", lambda endpoint: f"s3://{self.served}")
        monkeypatch.setattr(
            choosing, "models", lambda settings: [self.find(f"arn:{name}", settings) for name in self.known]
        )

    rejected: str | None = None

    def find(self, arn: str, settings: Settings) -> RegisteredModel:
        name = arn.removeprefix("arn:")
        if name not in self.known:
            raise ModelError(f"no model {arn}")
        status = "Rejected" if name == self.rejected else "Approved"
        about = {
            "arn": arn,
            "version": int(name[1]),
            "status": status,
            "name": name,
            "uri": f"s3://{name}",
            "reason": "",
        }
        return RegisteredModel.model_validate(about | {"facts": {}})


@pytest.mark.parametrize(
    ("change", "endpoint", "model"),
    [
        ({}, None, "m1"),
        ({"rejected": "m1"}, None, "m2"),
        ({"known": {"m2"}}, None, "m2"),
        ({}, "bins", "m1"),
        ({"served": "m2"}, "bins", "m2"),
    ],
    ids=["another is approved", "it is turned away", "it is deleted", "the endpoint still serves it", "nor any more"],
)
def test_one_model_counts_and_judges_all_photos_of_a_run(
    night: Night, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], endpoint: str | None, model: str
) -> None:
    registry = Registry(monkeypatch)
    night.parameters = night.parameters.model_copy(update={"endpoint": endpoint})
    assert model_of_run(night)[0].name == "m1"
    write_outcomes(night.folder, 1, {"photo": Outcome(status="counted")})
    for name, value in ({"approved": "m2"} | change).items():  # while the run was dead
        setattr(registry, name, value)
    assert model_of_run(night)[0].name == model
    assert (read_outcomes(night.folder, 1) is None) == (model == "m2")  # what another one counted is counted anew
    registry.approved = "m1"
    assert model_of_run(night)[0].name == model


@pytest.mark.parametrize(
    ("runs", "model", "known"),
    [
        ([], "", None),
        (["r1", "r1"], "m1", "m1"),
        (["r1", "r2"], "m1, m2", None),
        (["r3"], "m3", None),
        (["a run that was never recorded"], "", None),
        (["r1", "a run that was never recorded"], "m1", None),
    ],
)
def test_a_run_that_counts_nothing_names_who_counted(
    night: Night, runs: list[str], model: str, known: str | None
) -> None:
    night.ledger.upsert_counts([count_row(f"x/{number}.jpg", run=run) for number, run in enumerate(runs)])
    expected = POLICIES[known] if known else None
    assert judged_by(night, list(night.ledger.rows(Count))) == (model, expected)


@pytest.mark.parametrize(("recounted", "model", "own"), [(2, "m2", True), (1, "m1, m2", False)])
def test_what_a_run_counts_again_is_its_own_model_s(night: Night, recounted: int, model: str, own: bool) -> None:
    rows = [count_row(f"x/{number}.jpg", run="r1") for number in range(2)]
    night.ledger.upsert_counts(rows)
    night.model, night.policy = "m2", Policy(chosen_on="tonight")
    night.outcomes = {row["photo"]: Outcome(status="counted") for row in rows[:recounted]}
    assert judged_by(night, list(night.ledger.rows(Count))) == (model, night.policy if own else None)
