"""What a night tells, and the automations that listen."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.events.schemas.events import Resource, ResourceSpecification
from pydantic import Field

from tasks.nightly import tell as telling
from tasks.nightly.coverage import Coverage
from tasks.nightly.judge import Policy
from tasks.nightly.report import Report
from tasks.nightly.summary import Drift, NightTotals
from tasks.settings import Settings
from tests.installation import ROOT


def report(**totals: Any) -> Report:
    counts = {
        "seen": 10, "new": 10, "counted": 10, "unreadable": 0, "uncounted": 0, "skipped": {}, "match": 10,
        "mismatch": 0, "uncertain": 0, "without_record": 0,
    } | totals  # fmt: skip
    return Report(
        night="2026-11-25",
        prefix="s3://bins/x",
        run="run",
        model="m",
        totals=NightTotals(**counts),
        policy=Policy(),
        drift=Drift(nights=5, psi=0.4, alarms=["odd"] if totals.get("seen") == 99 else []),
        mix={},
        confidence=0.5,
        exceptions=[],
        left_out=0,
        earlier={},
        unreadable=[],
        uncounted=[("k", "the job failed")] if counts["uncounted"] else [],
    )


@pytest.mark.parametrize(
    ("totals", "events"),
    [
        ({}, {telling.FINISHED}),
        ({"mismatch": 3}, {telling.FINISHED, telling.EXCEPTIONS}),
        ({"uncounted": 2}, {telling.FINISHED, telling.PARTIAL}),
        ({"seen": 99}, {telling.FINISHED, telling.DRIFT}),
    ],
)
def test_a_night_gives_rise_to_the_events_that_it_deserves(totals: dict[str, int], events: set[str]) -> None:
    assert set(telling.events_of(report(**totals))) == events


def test_a_record_of_other_photos_is_told_and_needs_a_person() -> None:
    few = Coverage(without_entry=6, remark="6 of 10 counted photos have no entry in the record")
    none = Coverage(without_entry=10, remark="none of 10 counted photos has an entry", needs_a_person=True)
    reports = [report().model_copy(update={"coverage": coverage}) for coverage in (Coverage(), few, none)]
    events = [telling.events_of(each) for each in reports]
    assert [telling.WITHOUT_RECORD in each for each in events] == [False, True, True]
    assert events[2][telling.WITHOUT_RECORD]["reason"] == none.remark
    needed = [telling.why_a_person_is_needed(each) for each in reports]
    assert needed[:2] == [None, None]
    assert "none of 10 counted photos has an entry" in str(needed[2])
    assert "1 of 10 new photos were not counted: the job" in str(telling.why_a_person_is_needed(report(uncounted=1)))


def test_the_message_says_what_matters() -> None:
    said = telling.in_words(report(mismatch=3, uncounted=2))
    assert "3 mismatches" in said
    assert "PARTIAL: 2 photos are not counted yet: the job failed" in said


def test_the_automations_load_and_listen_to_events_that_exist() -> None:
    content = yaml.safe_load((ROOT / "automations" / "nightly.yaml").read_text())
    automations = [AutomationCore.model_validate(entry) for entry in content["automations"]]
    assert len(automations) == 4
    expected = {name for one in automations if isinstance(one.trigger, EventTrigger) for name in one.trigger.expect}
    ours = {name for name in expected if name.startswith("binventory.")}
    assert ours == {telling.FINISHED, telling.PARTIAL, telling.WITHOUT_RECORD, telling.DRIFT}
    own = [one.trigger for one in automations if isinstance(one.trigger, EventTrigger)]
    matched = {name for trigger in own for name in trigger.match["prefect.resource.id"]}
    assert telling.RESOURCE in matched


@pytest.mark.parametrize(
    ("prefix", "watched"), [("s3://bins/x", True), ("s3://b/nightly/261125-162900/held-back/bin-images/", False)]
)
def test_no_automation_takes_a_pipeline_s_night_over_held_back_photos_for_one_of_the_warehouse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prefix: str, watched: bool
) -> None:
    resources: list[Resource] = []
    monkeypatch.setattr(
        telling, "emit_event", lambda **event: resources.append(Resource.model_validate(event["resource"]))
    )
    telling.tell(report().model_copy(update={"prefix": prefix}), Settings(home=tmp_path), logging.getLogger("test"))
    content = yaml.safe_load((ROOT / "automations" / "nightly.yaml").read_text())
    [trigger] = [
        trigger
        for entry in content["automations"]
        if isinstance(trigger := AutomationCore.model_validate(entry).trigger, EventTrigger)
        and telling.FINISHED in trigger.expect
    ]
    assert isinstance(trigger.match, ResourceSpecification)
    assert [trigger.match.matches(resource) for resource in resources] == [watched]


class Told(NotificationBlock):
    """A service that takes messages as Prefect's blocks do, at once or when awaited."""

    waits: bool
    messages: list[tuple[str, str | None]] = Field(default_factory=list)

    def notify(self, body: str, subject: str | None = None) -> Any:
        async def later() -> None:
            self.messages.append((body, subject))

        if self.waits:
            return later()
        return self.messages.append((body, subject))


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "awaited"])
def test_a_configured_block_is_told_of_the_night(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, waits: bool
) -> None:
    block = Told(waits=waits)
    asked: list[str] = []

    def load(name: str) -> Told:
        asked.append(name)
        return block

    monkeypatch.setattr(telling, "emit_event", lambda **event: None)
    monkeypatch.setattr(Block, "load", load)
    telling.tell(report(mismatch=3), Settings(home=tmp_path), logging.getLogger("test"))
    assert block.messages == []  # nobody is named
    settings = Settings(home=tmp_path, notification="slack-webhook/nights")
    telling.tell(report(mismatch=3), settings, logging.getLogger("test"))
    assert asked == ["slack-webhook/nights"]
    [(body, subject)] = block.messages
    assert "3 mismatches" in body
    assert subject == "Binventory, night of 2026-11-25"
    assert caplog.text == ""


def test_a_message_that_cannot_be_sent_does_not_undo_the_night(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    emitted: list[str] = []
    monkeypatch.setattr(telling, "emit_event", lambda **event: emitted.append(event["event"]))

    def refuse(name: str) -> None:
        raise ValueError(f"no block {name}")

    monkeypatch.setattr(Block, "load", refuse)
    settings = Settings(home=tmp_path, notification="slack-webhook/nights")
    telling.tell(report(), settings, logging.getLogger("test"))
    assert emitted == [telling.FINISHED]
    assert "slack-webhook/nights did not take the message" in caplog.text
