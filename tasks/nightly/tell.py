"""Telling others: Prefect events that automations act on, and a notification block where one is configured."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable
from typing import Any

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.events import emit_event

from tasks.ledger.held_back import is_held_back
from tasks.nightly.report import Report
from tasks.settings import Settings

FINISHED = "binventory.night.finished"
PARTIAL = "binventory.night.partial"
EXCEPTIONS = "binventory.exceptions.found"
DRIFT = "binventory.drift"
WITHOUT_RECORD = "binventory.night.without-record"
RESOURCE = "binventory.nightly-count"
"""The resource of a night's events: automations match it."""

TEST_RESOURCE = "binventory.held-back-night"
"""That of a pipeline's own night, over photos that it held back: no automation waits for such a night."""

Logger = logging.Logger | logging.LoggerAdapter[Any]


def events_of(report: Report) -> dict[str, dict[str, Any]]:
    """Return the events that a night gives rise to, by name, with their payloads."""
    totals = report.totals
    common = {"night": report.night, "prefix": report.prefix, "run": report.run, "model": report.model}
    events: dict[str, dict[str, Any]] = {FINISHED: common | {"totals": totals.model_dump()}}
    if totals.mismatch:
        best = [{"bin": r.bin, "expected": r.expected, "counted": r.count} for r in report.exceptions[:10]]
        events[EXCEPTIONS] = common | {"mismatches": totals.mismatch, "best_bets": best}
    if totals.uncounted:
        events[PARTIAL] = common | {"uncounted": totals.uncounted, "reason": report.uncounted[0][1]}
    if report.coverage.remark:
        without = report.coverage.without_entry
        events[WITHOUT_RECORD] = common | {"without_entry": without, "reason": report.coverage.remark}
    if report.drift.alarms:
        events[DRIFT] = common | {"alarms": report.drift.alarms, "psi": report.drift.psi}
    return events


def in_words(report: Report) -> str:
    """Return the night in a few lines, for a message."""
    totals = report.totals
    lines = [
        f"Night of {report.night}: {totals.counted:,} photos counted, {totals.mismatch:,} mismatches, "
        f"{totals.uncertain:,} uncertain, {totals.unreadable:,} photos unreadable."
    ]
    if totals.overtaken:
        lines.append(f"{totals.overtaken:,} of these photos show a bin before a newer one, by which it is judged.")
    if totals.judged_late:
        lines.append(f"{totals.judged_late:,} photos of earlier nights are judged now that the record has their entry.")
    if totals.uncounted:
        lines.append(f"PARTIAL: {totals.uncounted:,} photos are not counted yet: {report.uncounted[0][1]}")
    lines += [f"Mind: {remark}." for remark in report.remarks]
    return "\n".join([*lines, *(f"Unusual: {alarm}." for alarm in report.drift.alarms)])


def why_a_person_is_needed(report: Report) -> str | None:
    """Return why a night has failed although what could be done is remembered and reported; None if it has not."""
    if report.uncounted:
        return (
            f"{len(report.uncounted)} of {report.totals.new} new photos were not counted: {report.uncounted[0][1]}. "
            "The rest is in the ledger and in the report; the same command tries these again."
        )
    if report.coverage.needs_a_person:
        return (
            f"{report.coverage.remark}. The counts are in the ledger, and nothing is judged by it; give a record that "
            "names these photos."
        )
    return None


def tell(report: Report, settings: Settings, logger: Logger) -> None:
    """Emit the events and send the message. A message that cannot be sent is logged: the night itself is fine."""
    name = TEST_RESOURCE if is_held_back(report.prefix) else RESOURCE
    resource = {"prefect.resource.id": name, "prefect.resource.name": report.prefix}
    for event, payload in events_of(report).items():
        emit_event(event=event, resource=resource, payload=payload)
    if settings.notification is None:
        return
    try:
        block = Block.load(settings.notification)
        if not isinstance(block, NotificationBlock):
            logger.error("%s is no notification block, so nobody was told", settings.notification)
            return
        sent: Any = block.notify(in_words(report), subject=f"Binventory, night of {report.night}")
        if inspect.isawaitable(sent):  # blocks have either kind
            asyncio.run(_wait_for(sent))
    except Exception as error:  # noqa: BLE001 - blocks raise whatever their service's library does
        logger.error("the notification block %s did not take the message: %r", settings.notification, error)  # noqa: TRY400


async def _wait_for(sent: Awaitable[None]) -> None:
    await sent
