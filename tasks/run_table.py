"""What a run came to, as a table in the terminal and as markdown in the Prefect UI."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.evaluation.reference import ALWAYS_THREE, BENCHMARK, OLD_SYSTEM

Row = tuple[str, str, str]


def rows(summary: dict[str, Any]) -> list[Row]:
    """One row a stage that ran: its name, its seconds, what came of it."""
    seconds: dict[str, float] = summary.get("stages", {})
    told = {stage: tell(summary) for stage, tell in _TELLERS.items() if stage in seconds}
    return [(stage, f"{seconds[stage]:.1f}", said) for stage, said in told.items()]


def _prepare(summary: dict[str, Any]) -> str:
    images, splits = summary["images"], summary["splits"]
    kept = "bins kept together" if splits["grouped"] else "random split"
    bad = (
        f", {images['missing']} missing, {images['corrupt']} unreadable"
        if images["missing"] + images["corrupt"]
        else ""
    )
    return (
        f"{images['listed']} photos listed{bad}; {splits['train']} train, {splits['valid']} valid, "
        f"{splits['test']} test, {kept}"
    )


def _features(summary: dict[str, Any]) -> str:
    return "computed once for all trials"


def _tune(summary: dict[str, Any]) -> str:
    found = summary["tuning"]
    best = found["best"]
    return (
        f"{found['jobs']} trials; best learning rate {best['lr']:.4g}, batch size {best['batch_size']}, "
        f"loss {found['objective']:.4f}"
    )


def _train(summary: dict[str, Any]) -> str:
    phases = summary["training"]["phases"]
    total = sum(phases.values()) or 1.0
    idle = 1 - (phases.get("train", 0.0) + phases.get("eval", 0.0)) / total
    return f"{summary['training']['seconds']} s in the job, {idle:.0%} of it outside training and evaluation"


def _debug(summary: dict[str, Any]) -> str:
    rules = summary["debugger"]["rules"]
    fired = [name for name, status in rules.items() if status == "IssuesFound"]
    judged = sum(status != "NotEvaluated" for status in rules.values())
    return f"{len(fired)} of {judged} rules fired{': ' if fired else ''}{', '.join(fired)}; see debugger.html"


def _evaluate(summary: dict[str, Any]) -> str:
    found, benchmark = summary["evaluation"], summary["benchmark"]
    return (
        f"accuracy {found['accuracy']:.2%} (benchmark {benchmark['accuracy']:.2%}), RMSE {found['rmse']:.3f} "
        f"({benchmark['rmse']:.3f}), within one {found['within_one']:.2%}, on {found['n']} photos"
    )


def _register(summary: dict[str, Any]) -> str:
    model = summary["model"]
    return f"{'approved' if model['approved'] else 'not approved, so not deployed'}: {model['reason']}"


def _deploy(summary: dict[str, Any]) -> str:
    endpoint = summary["endpoint"]
    smoke = endpoint["smoke"]
    return (
        f"endpoint {endpoint['name']} is {endpoint['status']}; {smoke['equal']} of {smoke['photos']} answers equal "
        "evaluation's"
    )


def _night(summary: dict[str, Any]) -> str:
    found = summary["night"]
    return (
        f"{found['counted']} photos held back are counted, {found['equal']} as in evaluation; "
        f"{found['mismatch']} mismatches, {found['uncertain']} uncertain"
    )


_TELLERS = {
    "prepare": _prepare,
    "features": _features,
    "tune": _tune,
    "train": _train,
    "debug": _debug,
    "evaluate": _evaluate,
    "register": _register,
    "deploy": _deploy,
    "night": _night,
}


def show(summary: dict[str, Any], folder: Path, console: Console) -> None:
    """Print what happened, the figures beside others', and where to look next."""
    taken = summary.get("taken")
    console.print()
    console.print(_stages(summary))
    if taken:
        console.print(f"What {in_words(taken['stages'])} left was taken from run {taken['run_id']}.")
    if "evaluation" in summary:
        console.print(_figures(summary["evaluation"]))
    for what, where in places(summary, folder):
        console.print(f"{what:<12}{where}", soft_wrap=True, highlight=False)


def places(summary: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Where to look, or what to run, next."""
    pages = (("Report", "report.html"), ("Exceptions", "night/report.html"))
    shown = _from_here(folder)
    found = [(what, str(shown / name)) for what, name in pages if (folder / name).exists()]
    if "night" in summary:
        found.append(("Recount", "make review"))
    if "endpoint" in summary:
        found.append(("Deployed", f"{_from_here(Path(sys.executable))} -m flows.deploy --list"))
    return found


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _stages(summary: dict[str, Any]) -> Table:
    title = f"Run {summary['run_id']} on {summary['source']}, target {summary['target']}, {summary['seconds']:.0f} s"
    table = Table(title=title)
    table.add_column("stage", style="bold")
    table.add_column("seconds", justify="right")
    table.add_column("what came of it")
    for row in rows(summary):
        table.add_row(*row)
    return table


def _figures(evaluation: dict[str, Any]) -> Table:
    table = Table(title=f"On {evaluation['n']} test photos; the others: random splits")
    columns = {"this model": evaluation, "benchmark": BENCHMARK, "old system": OLD_SYSTEM, "always 3": ALWAYS_THREE}
    table.add_column("", style="bold")
    for column in columns:
        table.add_column(column, justify="right")
    for name, title, form in (
        ("accuracy", "accuracy", ".2%"),
        ("rmse", "RMSE", ".3f"),
        ("within_one", "within one", ".2%"),
    ):
        values = [figures.get(name) for figures in columns.values()]
        table.add_row(title, *("" if value is None else format(value, form) for value in values))
    return table


def as_markdown(summary: dict[str, Any]) -> str:
    """The stages as a Prefect artifact has them."""
    lines = [f"| {' | '.join(row)} |" for row in rows(summary)]
    return "\n".join(("| stage | seconds | what came of it |", "|---|---|---|", *lines))


def in_words(names: Sequence[str]) -> str:
    """Names as a sentence has them: one, two and three."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
