"""Turns a flow and its parameter model into ``python -m flows.<name> --help``.

The same pydantic model makes the form in Prefect's UI, so both say the same about every parameter.
"""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prefect.logging.handlers import APILogHandler
from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic_settings import BaseSettings, CliApp, PydanticBaseSettingsSource, SettingsConfigDict
from rich.console import Console
from rich.markup import escape

from tasks.plan.plan import Draft, make_plan
from tasks.plan.show import show
from tasks.services import use_prefect_server
from tasks.settings import settings
from training.errors import BinventoryError

Parameters = TypeVar("Parameters", bound=BaseModel)

console = Console()
errors = Console(stderr=True)

_GOES_ON_COSTING = (
    "Jobs that were submitted go on, and cost; so does an endpoint. To end them: python -m flows.teardown --run-id RUN "
    "--delete, where RUN is the newest folder of runs in BINVENTORY_HOME."
)


class _CommandLine(BaseSettings):
    """Reads the command line only: a variable named ``LIMIT`` in somebody's shell is none of ours."""

    model_config = SettingsConfigDict(
        cli_kebab_case=True, cli_implicit_flags=True, cli_hide_none_type=True, cli_avoid_json=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class Planning(BaseModel):
    """Options of a flow that can be planned."""

    plan: bool = Field(
        False,
        title="Plan",
        description="Print the requests that a run would send to AWS, what they make and cost, and which IAM actions "
        "they need; send nothing.",
    )
    plan_json: bool = Field(False, title="Plan as JSON", description="The same for programs.")


def parse(model: type[Parameters], program: str, arguments: list[str] | None = None) -> Parameters:
    """Parse the command line into ``model``; exits with 2 and a message when it cannot be.

    Args:
        model: the flow's parameters; titles and descriptions make the help text.
        program: what stands before the options in the help text.
        arguments: the command line without the program; default ``sys.argv[1:]``.
    """
    parameters: Parameters = _read((model,), program, arguments)[0]
    return parameters


def parse_with_plan(
    model: type[Parameters], program: str, arguments: list[str] | None = None
) -> tuple[Parameters, Planning]:
    """`parse`, for a flow that can be planned."""
    parameters, planning = _read((model, Planning), program, arguments)
    return parameters, planning


def _read(models: Sequence[type[BaseModel]], program: str, arguments: list[str] | None) -> list[Any]:
    fields: dict[str, Any] = {
        name: (each.annotation, each) for kind in models for name, each in kind.model_fields.items()
    }
    command_line = create_model(
        models[0].__name__,
        __base__=_CommandLine,
        __doc__=models[0].__doc__,
        **fields,
    )
    command_line.model_config["cli_prog_name"] = program
    try:
        line = _with_values(models[0], sys.argv[1:] if arguments is None else arguments)
        given = CliApp.run(command_line, line).model_dump(exclude_unset=True, by_alias=True)
        return [kind.model_validate({name: given[name] for name in _names(kind) & given.keys()}) for kind in models]
    except ValidationError as error:
        for problem in error.errors():
            option = "-".join(str(part) for part in problem["loc"]).replace("_", "-")
            errors.print(
                f"{f'--{option}: ' if option else ''}{problem['msg'].removeprefix('Value error, ')}",
                style="red",
                highlight=False,
            )
        raise SystemExit(2) from None


def _names(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _with_values(model: type[BaseModel], arguments: list[str]) -> list[str]:
    """Give options that may stand alone, like ``--resume``, the value that they have then."""
    alone = {
        f"--{name.replace('_', '-')}": str(field.json_schema_extra["without_value"])
        for name, field in model.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and "without_value" in field.json_schema_extra
    }
    return [
        f"{argument}={alone[argument]}" if argument in alone and after.startswith("--") else argument
        for argument, after in zip(arguments, [*arguments[1:], "--"], strict=False)
    ]


def run(
    flow: Callable[[Parameters], Any],
    model: type[Parameters],
    name: str,
    ask: Callable[[Draft, Parameters], None] | None = None,
) -> int:
    """Run a flow from the command line; returns the exit code.

    An error that we foresaw is printed as one message, without a traceback; 130 after Ctrl-C.

    Args:
        flow: takes the parameters.
        model: of the parameters.
        name: of the flow's module.
        ask: asks of the cloud what the flow would, in a rehearsal; makes ``--plan``.
    """
    program, planning = f"python -m flows.{name}", Planning()
    if ask is None:
        parameters = parse(model, program)
    else:
        parameters, planning = parse_with_plan(model, program)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if ask is not None and (planning.plan or planning.plan_json):
            show(make_plan(name, settings(), lambda draft: ask(draft, parameters)), console, planning.plan_json)
            return 0
        url = use_prefect_server(settings())
        _say_foreseen_errors_once()
        console.print(f"[dim]Prefect UI: {url.removesuffix('/api')}[/dim]")
        flow(parameters)
    except BinventoryError as error:
        kind = type(error).__name__.removesuffix("Error")
        errors.print(f"[bold red]{kind}:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        errors.print("Interrupted. The same command goes on where this one stopped.")
        if ask is not None and settings().target == "aws":  # what has no plan submits nothing
            errors.print(_GOES_ON_COSTING, soft_wrap=True, highlight=False)
        return 130
    return 0


def _say_foreseen_errors_once() -> None:
    """Keep Prefect from printing the traceback of an error that we print ourselves; its UI still gets it."""
    loggers = [logging.getLogger(name) for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs")]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if not isinstance(handler, APILogHandler):
            handler.addFilter(_is_unforeseen)


def _is_unforeseen(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], BinventoryError))
