"""The page about a run: everything that its stages came to, with links to the pages of those that have one."""

import csv
from pathlib import Path
from typing import Any

from tasks import run_table
from tasks.data.prepared_data import SPLITS, PreparedData
from tasks.debugger import charts
from tasks.debugger.stage import DebuggedJob
from tasks.evaluation.page import comparison_rows
from tasks.evaluation.results import EvaluatedModel
from tasks.home import write_at_home
from tasks.pages import render
from tasks.run_record import Run
from tasks.tuning import TunedHyperparameters
from tasks.tuning_picture import as_data_uri, draw_trials

EXCEPTIONS = 10
_TEMPLATE = Path(__file__).with_name("report.html.j2")
_PAGES = {
    "evaluation.html": "Evaluation, with the worst errors",
    "debugger.html": "Debugger",
    "night/report.html": "The first night's exceptions",
    "night/exceptions.csv": "The same as CSV",
    "summary.json": "All numbers",
}


def write_report(run: Run) -> Path:
    """Write ``report.html`` into the run's folder: one file that asks no server for anything.

    Sections are of stages that this run did; of what it took from an earlier one, only the data and the search.
    """
    summary = run.summary
    page = render(
        _TEMPLATE,
        summary=summary,
        rows=run_table.rows(summary),
        bar=charts.bar(summary["stages"]),
        data=_data(run.result("prepare", PreparedData)) if run.has("prepare") else None,
        tuning=_tuning(run.result("tune", TunedHyperparameters)) if run.has("tune") else None,
        debugged=run.result("debug", DebuggedJob) if "debugger" in summary else None,
        figures=comparison_rows(run.result("evaluate", EvaluatedModel)) if "evaluation" in summary else None,
        exceptions=_exceptions(run.folder) if "night" in summary else [],
        pages={name: title for name, title in _PAGES.items() if (run.folder / name).exists()},
    )
    path = run.folder / "report.html"
    write_at_home(path, page)
    return path


def _data(data: PreparedData) -> dict[str, Any]:
    """Photos by count and split; a split's share of each count is told beside it."""
    counts = sorted({count for split in SPLITS for count in data.counts[split]})
    table = [
        [
            count,
            *(data.counts[split].get(count, 0) for split in SPLITS),
            sum(data.counts[s].get(count, 0) for s in SPLITS),
        ]
        for count in counts
    ]
    totals = [sum(row[place] for row in table) for place in range(1, len(SPLITS) + 2)]
    return {"dataset": data.dataset, "splits": SPLITS, "table": table, "totals": totals, "digest": data.digest}


def _tuning(best: TunedHyperparameters) -> dict[str, Any]:
    return {"best": best, "picture": as_data_uri(draw_trials(best.trials, best.job_name))}


def _exceptions(folder: Path) -> list[dict[str, str]]:
    """The best bets of the first night."""
    path = folder / "night" / "exceptions.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))[:EXCEPTIONS]
