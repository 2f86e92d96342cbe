"""The night as Prefect tasks: thin wrappers that name, retry and report; the work is in plain functions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import obstore
from botocore.exceptions import ClientError
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.data.fetch import transfer_errors
from tasks.home import write_at_home
from tasks.ledger.export import export_rows
from tasks.ledger.models import now
from tasks.nightly import count, endpoint, late, plan, remember
from tasks.nightly import tell as telling
from tasks.nightly.copies import remove_copies
from tasks.nightly.cost import cost_of_jobs
from tasks.nightly.coverage import KEPT, measure_coverage
from tasks.nightly.model import judged_by, model_of_run
from tasks.nightly.night import Night
from tasks.nightly.outcomes import read_outcomes, write_outcomes
from tasks.nightly.policy import policy_of
from tasks.nightly.report import (
    Report,
    as_csv,
    as_rows,
    before_photos,
    exceptions,
    newest_of_bins,
    unjudged,
    write_page,
)
from tasks.nightly.summary import LEAST_NIGHTS, NightTotals, count_mix, mean_confidence, measure_drift
from tasks.object_store import open_store
from tasks.release.registry import serving_model
from tasks.retries import RETRIES
from tasks.settings import Settings
from tasks.transient import is_transient


@task(name="find photos", task_run_name="find photos", **RETRIES)
def find_photos(night: Night) -> None:
    """List the prefix, leave out what the ledger has, and put the record beside the rest."""
    night.take_plan(plan.find(night.parameters, night.ledger, night.folder, night.run_id, night.date))
    get_run_logger().info("%d objects seen, %d photos to count", night.plan.seen, len(night.plan.photos))


@task(name="find model", task_run_name="find model", **RETRIES)
def find_model(night: Night) -> None:
    """Find the model to count with, its thresholds, and the SageMaker Model that serves it.

    Raises:
        ModelError: as `model_of_run`.
    """
    model, night.remarks = model_of_run(night)
    for remark in night.remarks:
        get_run_logger().warning("%s", remark)
    night.model, night.policy = model.name, policy_of(model.facts)
    night.serving_model = serving_model(model, night.settings)


@task(name="count photos", task_run_name="count chunk {number}", **RETRIES)
def count_photos(night: Night, number: int) -> None:
    """Count one chunk, or read what an earlier start of this run counted."""
    done = read_outcomes(night.folder, number)
    [chunk] = (chunk for chunk in night.plan.chunks if chunk.number == number)
    if done is None:
        if name := night.endpoint_for(chunk):
            done = endpoint.count_by_endpoint(chunk.photos, name)
        else:
            done = count.count_by_jobs(
                chunk,
                night.serving_model,
                night.run_id,
                night.parameters.instances,
                night.settings,
                get_run_logger(),
            )
        write_outcomes(night.folder, number, done)
    night.outcomes |= {photo.photo: done[photo.photo] for photo in chunk.photos}  # others are planned elsewhere by now


@task(name="cost of the jobs", task_run_name="cost of the jobs", **RETRIES)
def find_cost(night: Night) -> None:
    """Add up what the jobs are billed for; a night is none the worse for not knowing it."""
    try:
        night.cost = cost_of_jobs(night.run_id)
    except ClientError as error:
        if is_transient(error):
            raise
        get_run_logger().warning("what the jobs cost is not known: %s", error)


@task(name="judge late", task_run_name="judge late", **RETRIES)
def judge_late(night: Night) -> None:
    """Judge photos of earlier nights whose entry came with tonight's record."""
    night.late = late.judge_late(night)
    if left := len(night.plan.late) - len(night.late):
        night.remarks = [*night.remarks, late.LEFT.format(left)]
        get_run_logger().warning("%s", night.remarks[-1])


@task(name="judge and remember", task_run_name="judge and remember", **RETRIES)
def judge_and_remember(night: Night) -> int:
    """Judge every bin and write the ledger; returns how many rows are new or changed."""
    return remember.remember(night.plan.photos, night.outcomes, night.policy, night.ledger, night.run_id, night.date)


@task(name="tidy", task_run_name="tidy", **RETRIES)
def tidy(night: Night) -> None:
    """Delete the copies of photos with odd keys."""
    remove_copies(night.run_id, night.settings)


@task(name="report", task_run_name="report", **RETRIES)
def make_report(night: Night) -> Report:
    """Write page, CSV and Parquet into the run's folder and to S3, the table into Prefect, the night's numbers."""
    rows = rows_of(night)
    report = collect(night, rows)
    write_page(report, night.folder / "report.html")
    write_at_home(night.folder / "exceptions.csv", as_csv(exceptions(rows)))  # a program reads all of them
    export_rows(night.ledger, rows, night.folder / "night.parquet")
    _publish(night.folder, f"s3://{night.settings.bucket}/nightly/{night.run_id}")
    create_table_artifact(as_rows(report.exceptions), key="exceptions", description=f"Bins to check, {report.night}")
    create_markdown_artifact(telling.in_words(report), key="night", description=f"Night of {report.night}")
    night.ledger.record_night(
        {
            "run": night.run_id,
            "night": night.date,
            "prefix": night.parameters.prefix,
            "model": night.model,
            "finished_at": now(),
            "totals": report.totals.model_dump(),
            "mix": report.mix,
            "confidence": report.confidence,
        }
    )
    return report


def rows_of(night: Night) -> list[Any]:
    """The ledger's rows of the whole night: also what earlier runs of it counted, and what this one counted again."""
    bucket, _, folder = night.parameters.prefix.removeprefix("s3://").partition("/")
    again = night.counted if night.parameters.recount else set()  # all others are this night's, or this run's
    return list(night.ledger.of_night(bucket, folder, night.date, night.run_id, sorted(again | night.late)))


def collect(night: Night, rows: Sequence[Any]) -> Report:
    """Gather what the page says of a night's rows."""
    prefix = night.parameters.prefix
    model, policy = judged_by(night, rows)
    flagged = exceptions(rows)
    shown = flagged[: night.parameters.most_exceptions]
    uncounted = [(photo.key, reason) for photo, reason in night.uncounted]
    late_ones = late.judged_late(night, rows)
    tonight = [row for row in rows if row.photo not in late_ones]
    totals = _totals(night, rows, tonight)
    mix, confidence = count_mix(tonight, (policy or night.policy).abstain_from), mean_confidence(tonight)
    last = night.ledger.nights_before(prefix, night.date, night.run_id, model, least=LEAST_NIGHTS)
    counted = [row for row in tonight if row.status == "counted"]
    known = {photo.photo for photo in night.plan.photos if photo.known}
    coverage = measure_coverage(night.plan.record, counted, names_others=bool(night.plan.late), known=known)
    remarks = [KEPT.format(len(known))] if known else []
    return Report(
        night=night.date.isoformat(),
        prefix=prefix,
        run=night.run_id,
        model=model,
        totals=totals,
        policy=policy,
        drift=measure_drift(mix, confidence, totals.counted, last),
        coverage=coverage,
        late=late_ones,
        mix=mix,
        confidence=confidence,
        exceptions=shown,
        left_out=len(flagged) - len(shown),
        earlier=before_photos(shown, night.ledger),
        unjudged=unjudged(rows),
        unreadable=[row for row in rows if row.status == "unreadable"],
        uncounted=uncounted,
        remarks=[*night.remarks, *remarks, *([coverage.remark] if coverage.remark else [])],
    )


def _totals(night: Night, rows: Sequence[Any], tonight: Sequence[Any]) -> NightTotals:
    found = night.plan
    counted = [row for row in tonight if row.status == "counted"]
    newest = newest_of_bins(rows)
    verdicts = [row.verdict for row in newest]
    return NightTotals(
        seen=found.seen,
        new=len(found.photos),
        counted=len(counted),
        unreadable=len(tonight) - len(counted),
        uncounted=len(night.uncounted),
        skipped=found.skipped,
        match=verdicts.count("match"),
        mismatch=verdicts.count("mismatch"),
        uncertain=verdicts.count("uncertain"),
        overtaken=len(rows) - len(newest),
        without_record=sum(row.expected is None for row in counted),
        recount=night.parameters.recount,
        judged_late=len(rows) - len(tonight),
    )


def _publish(folder: Path, uri: str) -> None:
    store = open_store(uri)
    for name, kind in (("report.html", "text/html"), ("exceptions.csv", "text/csv; charset=utf-8")):
        with transfer_errors(f"{uri}/{name}"):
            obstore.put(store, name, (folder / name).read_bytes(), attributes={"Content-Type": kind})


@task(name="tell", task_run_name="tell", **RETRIES)
def tell(report: Report, settings: Settings) -> None:
    """Emit events and notify."""
    telling.tell(report, settings, get_run_logger())
