"""Turns a flow and its parameter model into ``python -m flows.<name> --help``.

The same pydantic model makes the form in Prefect's UI, so both say the same about every parameter.
"""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, TypeVar, get_origin

from botocore.exceptions import BotoCoreError, ClientError
from obstore.exceptions import BaseError
from prefect.logging.handlers import APILogHandler
from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, CliApp, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError
from rich.console import Console
from rich.markup import escape

from tasks.names import LOOKS_LIKE
from tasks.object_store import brief
from tasks.plan.plan import Draft, make_plan
from tasks.plan.show import show
from tasks.services import use_prefect_server
from tasks.settings import settings
from training.errors import BinventoryError

Parameters = TypeVar("Parameters", bound=BaseModel)

console = Console(markup=False, emoji=False)
"""Prints texts as they stand: a key on S3, or a reason of AWS, may look like Rich's markup."""
errors = Console(stderr=True)

_GOES_ON_COSTING = (
    "Jobs that were submitted go on, and cost; so does an endpoint. To end them: python -m flows.teardown --run-id RUN "
    "--delete, with --in-use for an endpoint that serves; RUN is the newest folder of runs in BINVENTORY_HOME."
)

FORESEEN = (BinventoryError, ClientError, BotoCoreError, BaseError)
"""What is told in one message: our own errors, and what AWS refuses, S3 by obstore too."""

_HOW_VALUES_ARE_WRITTEN = (
    "Several values are separated by commas, like --batch-sizes 32,64; what has names is JSON, like "
    """--rules '{"Overfit": {"patience": "3"}}'."""
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
        name: (each.annotation, _explained(each)) for kind in models for name, each in kind.model_fields.items()
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
            _refuse(_option(problem["loc"]) + _what_is_wrong(problem, fields))
    except SettingsError as error:
        _refuse(f"{error}. {_HOW_VALUES_ARE_WRITTEN}")
    raise SystemExit(2)


def _explained(field: FieldInfo) -> FieldInfo:
    """Say of an option that takes several values how they are written."""
    if get_origin(field.annotation) is not tuple:
        return field
    example = f": {','.join(map(str, field.default))}" if field.default else ""
    explained = copy(field)
    explained.description = f"{field.description} Comma-separated{example}."
    return explained


def _option(place: tuple[int | str, ...]) -> str:
    """Return what a problem's message begins with: the option, and which of its values it is about."""
    words = [str(part).replace("_", "-") for part in place]
    numbers = [part + 1 for part in place[1:] if isinstance(part, int)]
    value = f", value {numbers[0]}" if numbers else ""
    names = words[: len(words) - len(numbers)]
    return f"--{'-'.join(names)}{value}: " if names else ""


def _what_is_wrong(problem: ErrorDetails, fields: dict[str, tuple[Any, FieldInfo]]) -> str:
    """Return pydantic's message, in words where it would show a pattern."""
    _, field = fields.get(str(problem["loc"][0] if problem["loc"] else ""), (None, None))
    extra = field.json_schema_extra if field else None
    if problem["type"] == "string_pattern_mismatch" and isinstance(extra, dict) and LOOKS_LIKE in extra:
        return f"{problem['input']!r} is not {extra[LOOKS_LIKE]}"
    return problem["msg"].removeprefix("Value error, ")


def _refuse(message: str) -> None:
    errors.print(escape(message), style="red", highlight=False, soft_wrap=True)


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
        console.print(f"Prefect UI: {url.removesuffix('/api')}", style="dim")
        flow(parameters)
    except FORESEEN as error:
        tell(error)
        return 1
    except KeyboardInterrupt:
        errors.print("Interrupted. The same command goes on where this one stopped.")
        if ask is not None and settings().target == "aws":  # what has no plan submits nothing
            errors.print(_GOES_ON_COSTING, soft_wrap=True, highlight=False)
        return 130
    return 0


def tell(error: Exception) -> None:
    """Print an error that we foresaw as one message: what it is about, what is wrong, and what to do."""
    kind, message = type(error).__name__.removesuffix("Error"), str(error)
    if isinstance(error, ClientError):
        refused = error.response.get("Error", {})
        kind = "AWS"
        message = f"{error.operation_name} was refused: {refused.get('Code')}: {refused.get('Message')}"
    elif isinstance(error, BotoCoreError):
        kind = "AWS"
    elif isinstance(error, BaseError):
        kind, message = "AWS", brief(error)
    if kind == "AWS":
        message = f"{message.rstrip('.')}. docs/troubleshooting.md, AWS, has what to do; the same command goes on."
    errors.print(f"[bold red]{kind}:[/] {escape(message)}", highlight=False, soft_wrap=True)


def _say_foreseen_errors_once() -> None:
    """Keep Prefect from printing the traceback of an error that we print ourselves; its UI still gets it."""
    loggers = [logging.getLogger(name) for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs")]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if not isinstance(handler, APILogHandler):
            handler.addFilter(_is_unforeseen)


def _is_unforeseen(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], FORESEEN))
