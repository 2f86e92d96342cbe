"""A plan, printed: for people, or for programs."""

import json

from rich.console import Console, Group
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from tasks.plan.costs import PlannedCost
from tasks.plan.plan import Plan, Stage
from tasks.prices import PRICED_IN


def show(plan: Plan, console: Console, as_json: bool) -> None:
    """Print a plan; as JSON it is one document, and nothing else."""
    if as_json:
        print(plan.model_dump_json(indent=2))
        return
    for number, stage in enumerate(plan.stages, 1):
        console.rule(Text(f"{number}. {stage.name}", style="bold"), align="left")
        console.print(Padding(_stage(stage), (0, 0, 1, 2)))
    console.print(_costs(plan))
    console.print(_actions(plan))
    console.print(
        f"Nothing was sent. Words in <angle brackets> are known when the run has come so far. Prices are those of "
        f"{PRICED_IN} in {plan.priced_at}, on demand, without storage, transfer and requests.",
        highlight=False,
    )


def _stage(stage: Stage) -> Group:
    parts: list[object] = [Text(stage.note, style="italic")] if stage.note else []
    parts += [_request(f"{each.service} {each.operation}", each.parameters) for each in stage.requests if each.changes]
    asked = [each.operation for each in stage.requests if not each.changes]
    lines = [
        ("makes", ", ".join(stage.makes)),
        ("asks", ", ".join(dict.fromkeys(asked))),
        ("and, as often as needed", ", ".join(each.split()[1] for each in stage.besides)),
        ("needs", ", ".join(stage.actions)),
    ]
    table = Table.grid(padding=(0, 2))
    for name, text in lines:
        if text:
            table.add_row(Text(name, style="dim"), Text(text))
    for each in stage.storage:
        table.add_row(Text("S3", style="dim"), Text(f"{each.operation} {each.uri}  ({each.what})"))
    return Group(*parts, table)  # type: ignore[arg-type]  # what rich can print


def _request(title: str, parameters: dict[str, object]) -> Group:
    body = Syntax(json.dumps(parameters, indent=2), "json", background_color="default", word_wrap=True)
    return Group(Text(title, style="bold"), body)


def _costs(plan: Plan) -> Table:
    table = Table(title="What it costs", title_justify="left")
    for column in ("stage", "what", "instances", "USD an hour", "hours at most", "USD at most", "note"):
        table.add_column(column, justify="right" if column.startswith(("USD", "hours")) else "left")
    for stage in plan.stages:
        for cost in stage.costs:
            table.add_row(stage.name, *_row(cost))
    return table


def _row(cost: PlannedCost) -> list[str]:
    unknown = "not in the list"
    return [
        cost.what,
        f"{cost.instances} x {cost.instance}",
        unknown if cost.usd_an_hour is None else f"{cost.usd_an_hour:g}",
        "" if cost.at_most_hours is None else f"{cost.at_most_hours:g}",
        "" if cost.at_most_usd is None else f"{cost.at_most_usd:.2f}",
        cost.note,
    ]


def _actions(plan: Plan) -> Text:
    actions = sorted({action for stage in plan.stages for action in stage.actions})
    return Text(f"IAM actions of the whole: {', '.join(actions)}\n")
