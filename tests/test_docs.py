"""The commands in README and docs are ones that work: each is parsed; plans are made, and what changes nothing is run.

Those that take an hour, or an account, are parsed only; pipelines, nights and teardowns are run by the tests of flows.
"""

import functools
import importlib
import importlib.util
import inspect
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.session import Session
from pydantic import BaseModel

from flows.command_line import parse, parse_with_plan
from serving.answers import WRITERS
from serving.requests import CONTENT_TYPES
from tasks.debugger.evaluate import RULES
from tasks.learning import LearnParameters
from tasks.nightly.report import CSV_COLUMNS
from tasks.settings import Settings
from tests.aws.policies import FOLDER, template
from tests.aws.test_plan import FLOWS, plan_of
from tests.forking import Commands, fork
from tests.installation import ROOT, Installation, own_variables

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON = ("python -m ", ".venv/bin/python -m ")
NOT_OURS = ("apt-get", "sqlite3", "uv", "cfn-lint", "eval", "git", "cd", "docker", "curl")
"""Other people's programs: what they take is for their documentation to say."""
WITHOUT_MODEL = (("cloudformation", "deploy"), ("sso", "login"))
"""Commands that AWS's client adds to the operations of its services."""


def commands(page: Path) -> list[str]:
    """Commands of a page's code blocks and of its text, without comments; lines that end in a backslash go on."""
    text = page.read_text()
    fenced = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    scripts = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    said = [line[2:] for block in fenced for line in block.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
    said += [line.strip() for block in scripts for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    said += re.findall(r"^    ((?:\.venv/bin/)?python -m .*)$", text, re.MULTILINE)
    said += [" ".join(span.split()) for span in re.findall(r"(?<!`)`((?:python -m|make|prefect|aws)\s[^`]+)`", text)]
    return [re.split(r"\s+#\s", command)[0].strip() for command in said if "<" not in command]


COMMANDS = sorted({(page.relative_to(ROOT).as_posix(), command) for page in PAGES for command in commands(page)})


def parameters_of(module: str) -> type[BaseModel]:
    """The parameter model of the flow that ``flows.<name>`` runs."""
    flow = getattr(importlib.import_module(module), module.partition(".")[2])
    (parameter,) = inspect.signature(getattr(flow, "fn", flow)).parameters.values()
    model: type[BaseModel] = parameter.annotation
    return model


@functools.cache
def helped(program: str, *names: str) -> str:
    """What a program of Prefect's, or a module of ours, says of itself or of a command of its."""
    if program == "prefect":
        command = [str(Path(sys.executable).with_name(program)), *names, "--help"]
        return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout
    process = fork(own_variables() | {"COLUMNS": "120"}, program, *names, "--help")
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def check_python(module: str, arguments: list[str]) -> None:
    if "--help" in arguments or not arguments:
        assert importlib.util.find_spec(module), module
    elif module.startswith("flows."):
        read = parse_with_plan if module.removeprefix("flows.") in FLOWS else parse
        read(parameters_of(module), module, arguments)
        if "--plan" in arguments:
            asked = [word for word in arguments if word != "--plan"]
            assert plan_of(module.removeprefix("flows."), *asked).stages
    else:
        said = helped(module, *(part for part in arguments[:1] if not part.startswith("-")))
        for option in (part for part in arguments if part.startswith("--")):
            assert option in said, f"{module} knows no {option}"


def test_pages_have_commands() -> None:
    assert len(COMMANDS) > 30


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_is_one_that_is_understood(page: str, command: str) -> None:
    words = shlex.split(command)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        check_variable(words.pop(0))
    if command.startswith(PYTHON) or words[:1] in (["python"], [".venv/bin/python"]):
        check_python(words[2], words[3:])
    elif words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[0] == "prefect":
        check_prefect(words[1:])
    elif words[0] == "aws":
        check_aws(words[1:])
    elif words[0] == "export":
        check_variable(words[1])
    else:
        assert Path(words[0]).name in NOT_OURS, f"{page}: what is {words[0]}?"


def check_variable(assignment: str) -> None:
    name = assignment.partition("=")[0]
    if name.startswith("BINVENTORY_"):
        assert name.removeprefix("BINVENTORY_").lower() in Settings.model_fields


def check_prefect(words: list[str]) -> None:
    names = [word for word in words if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
    said = helped("prefect", *names[:2])
    for option in (word for word in words if word.startswith("--")):
        assert option in said, f"prefect {' '.join(names[:2])} knows no {option}"
    for file in (word for word in words if word.endswith(".yaml")):
        assert (ROOT / file).exists()


def check_aws(words: list[str]) -> None:
    """What AWS's own model asks of an operation is there, and nothing that it does not know."""
    service, operation, *rest = words
    if (service, operation) == ("cloudformation", "deploy"):
        check_stack(rest)
    if (service, operation) in WITHOUT_MODEL:
        return
    model = Session().get_service_model(service)
    [name] = [name for name in model.operation_names if xform_name(name, "-") == operation]
    members = model.operation_model(name).input_shape
    assert members
    needed = {f"--{xform_name(member, '-')}" for member in members.required_members}
    known = {f"--{xform_name(member, '-')}" for member in members.members} | {"--output", "--query"}
    given = {word for word in rest if word.startswith("--")}
    assert needed <= given <= known


def check_stack(words: list[str]) -> None:
    """The overrides are parameters of the template, and none is left out that has no default."""
    assert ROOT / words[words.index("--template-file") + 1] == FOLDER / "binventory.yaml"
    overrides = itertools.takewhile(lambda word: "=" in word, words[words.index("--parameter-overrides") + 1 :])
    named = {word.partition("=")[0] for word in overrides}
    parameters = template("Parameters")
    assert {name for name, each in parameters.items() if "Default" not in each} <= named <= parameters.keys()


def test_settings_in_the_docs_are_settings() -> None:
    named = {name for page in PAGES for name in re.findall(r"BINVENTORY_([A-Z_]*[A-Z])\b", page.read_text())}
    assert {name.lower() for name in named - {"SCREENSHOTS"}} <= {*Settings.model_fields}  # that one is for our tests


def test_files_that_the_docs_link_to_are_there() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_docs_have_every_rule_of_the_debugger_and_no_other() -> None:
    table = re.findall(r"\| rule \| fires when \|\n\|[-|]+\n((?:\|.*\n)+)", (ROOT / "docs" / "debugger.md").read_text())
    named = [name for row in table[0].splitlines() for name in row.split("|")[1].strip().split(", ")]
    assert sorted(named) == sorted(RULES)


def test_the_docs_have_the_columns_of_the_nights_csv_in_their_order() -> None:
    [said] = re.findall(r"The CSV has the columns ([^.]+)\.", (ROOT / "docs" / "nightly.md").read_text())
    assert re.split(r",\s+|\s+and\s+", said) == ["rank", *CSV_COLUMNS]


@pytest.mark.parametrize(("head", "types"), [("content type", CONTENT_TYPES), ("`Accept`", WRITERS)])
def test_the_docs_have_what_the_endpoint_reads_and_answers_and_no_other(head: str, types: Collection[str]) -> None:
    pattern = rf"^\| {head} \|[^|]+\|\n\|[-|]+\n((?:\|.*\n)+)"
    [table] = re.findall(pattern, (ROOT / "docs" / "serving.md").read_text(), re.MULTILINE)
    named = [name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(types)


def test_the_docs_have_what_tuning_searches_by_default() -> None:
    fields = LearnParameters.model_fields
    lowest, highest = fields["learning_rates"].default
    sizes = ", ".join(map(str, fields["batch_sizes"].default))
    said = f"the learning rate ({lowest}-{highest}, log scale) and the batch size ({sizes})"
    assert said in (ROOT / "docs" / "training.md").read_text()


def run_block(page: str, command: str, installation: Installation) -> str:
    """Run the block of a page that has a command, in a shell of its own; the port is that of the installation."""
    blocks = re.findall(r"^```console\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    [block] = [block for block in blocks if command in block]
    url: str = json.loads((installation.home / "prefect" / "server.json").read_text())["api_url"]
    script = re.sub(r"^\$ ", "", block, flags=re.MULTILINE).replace("http://127.0.0.1:4200/api", url)
    scripts = Path(sys.executable).parent
    # Where the block names no server, Prefect would take one in the home of whoever runs the tests.
    variables = {"PREFECT_HOME": str(installation.home / "nobodys"), "PATH": f"{scripts}:{os.environ['PATH']}"}
    return subprocess.check_output(
        ["sh", "-ec", script], cwd=ROOT, env=installation.environment | variables, text=True, stderr=subprocess.STDOUT
    )


def test_what_changes_nothing_is_run_as_it_stands(installation: Installation) -> None:
    """In an empty installation: nothing is registered, nothing was left, and nobody runs."""
    commands = Commands(installation)
    with installation.services():
        assert "Models in the group" in commands.run("flows.deploy", "--list")
        assert "left nothing" in commands.run("flows.teardown", "--run-id", "261125-120000")
        assert "running" in installation.localcloud("status")
        said = run_block("docs/nightly.md", "prefect automation create", installation)
        assert len(installation.prefect("automations/filter")) == 4, said
