"""Count last night's photos and audit the record by them: ``python -m flows.nightly_count --help``."""

import sys
from pathlib import Path

from prefect import flow, get_run_logger

from flows.command_line import console, run
from tasks.ledger.leases import lease
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import now
from tasks.nightly import tasks as step
from tasks.nightly.night import Night, date_of
from tasks.nightly.parameters import NightParameters
from tasks.nightly.report import Report
from tasks.nightly.tell import in_words, why_a_person_is_needed
from tasks.plan import counting
from tasks.prices import summed
from tasks.runs import run_of
from tasks.services import use_cloud
from tasks.settings import Settings, settings
from training.errors import LeaseError, NightError


@flow(name="nightly-count", flow_run_name="night of {parameters.prefix}")
def nightly_count(parameters: NightParameters) -> str | None:
    """Find, count, judge, remember, report, tell; returns the run's id, None if it yielded to one over its prefix.

    Safe to kill and to repeat: the ledger ends as after an undisturbed night, and nothing is counted twice.

    Raises:
        LeaseError: a night over another prefix of the bucket was not over in time, and this one's photos are uncounted.
        NightError: some photos stayed uncounted, which the next run tries, or the record that was given has no entry
            for any photo. Everything else is remembered and reported.
    """
    here = settings()
    use_cloud(here)
    ledger = Ledger.open(here)
    bucket = parameters.prefix.removeprefix("s3://").partition("/")[0]
    try:
        with lease(ledger, f"night/{bucket}", parameters.wait_minutes * 60, parameters.prefix):
            return _night(parameters, ledger, here)
    except LeaseError as error:
        if error.purpose != parameters.prefix:
            raise LeaseError(
                f"{parameters.prefix} was not counted: {error}. Give the same command again when that run is done, or "
                "let this one wait longer (--wait-minutes)."
            ) from error
        get_run_logger().warning("Nothing was done: %s.", error)
        console.print(f"Nothing was done: {error}.")
        return None


def _night(parameters: NightParameters, ledger: Ledger, here: Settings) -> str:
    with run_of(here, "nightly_count", parameters, part="night", partial=NightError) as record:
        night = Night(parameters, ledger, here, record.run_id, record.folder, date_of(now(), here))
        record.record(source=parameters.prefix)
        with record.stage("find"):
            step.find_photos(night)
        if night.plan.chunks:
            with record.stage("count"):
                _count(night)
        with record.stage("remember"):
            if night.plan.late:  # first: they may be the photos before tonight's
                step.judge_late(night)
            step.judge_and_remember(night)
        with record.stage("report"):
            report = step.make_report(night)
            if any(night.endpoint_for(chunk) is None for chunk in night.plan.chunks):
                step.find_cost(night)
        numbers = {"date": report.night, "model": report.model, **report.totals.model_dump()}
        record.record(night=numbers | {"remarks": report.remarks})
        if night.cost:
            record.record(cost=summed({"count": night.cost}))
        with record.stage("tell"):
            step.tell(report, here)
        _show(report, record.folder)
        if why := why_a_person_is_needed(report):
            raise NightError(why)
    return record.run_id


def _count(night: Night) -> None:
    step.find_model(night)
    for chunk in night.plan.chunks:
        step.count_photos(night, chunk.number)
    if any(chunk.copied for chunk in night.plan.chunks):
        step.tidy(night)


def _show(report: Report, folder: Path) -> None:
    console.print(in_words(report))
    console.print(f"The report is {folder}/report.html, for the WMS {folder}/exceptions.csv", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(run(nightly_count, NightParameters, "nightly_count", counting.count_night))
