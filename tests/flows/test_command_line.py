"""A flow's parameters make its command line."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import obstore
import pytest
from botocore.exceptions import ClientError, NoRegionError
from pydantic import BaseModel, Field
from rich.table import Table

from flows import command_line
from flows.command_line import FORESEEN, parse, tell
from tasks.object_store import open_store
from tasks.pipeline.parameters import FullPipelineParameters, TuneAndTrainParameters
from tasks.settings import Settings
from tests.forking import Commands
from tests.installation import ROOT, Installation
from tests.s3_server import denying_s3
from training.errors import SettingsError


class Parameters(BaseModel):
    """What to do."""

    limit: int | None = Field(None, ge=1, title="Limit", description="Use at most so many photos.")
    file_list: str = Field("list.json", title="File list", description="Where the ids are.")


def test_what_others_wrote_is_printed_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    said = "bins/[/b] [red]1.jpg :car:"
    table = Table(title=said)
    table.add_column(said)
    table.add_row(said)
    command_line.console.print(said)
    command_line.console.print(table)
    assert capsys.readouterr().out.count(said) == 4


def test_options_are_named_after_fields() -> None:
    assert parse(Parameters, "x", ["--limit", "3", "--file-list", "a.json"]) == Parameters(limit=3, file_list="a.json")
    assert parse(Parameters, "x", []) == Parameters()


def test_help_says_what_the_model_says(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(FullPipelineParameters, "python -m flows.full_pipeline", ["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "python -m flows.full_pipeline" in said
    for name, field in FullPipelineParameters.model_fields.items():
        assert f"--{(field.alias or name).replace('_', '-')}" in said
        assert (field.description or "?").split()[0] in said


@pytest.mark.parametrize("model", [FullPipelineParameters, TuneAndTrainParameters])
def test_the_form_and_the_help_begin_with_where_photos_come_from(
    model: type[BaseModel], capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(model.model_json_schema()["properties"])[:3] == ["source", "source_endpoint", "file_list"]
    with pytest.raises(SystemExit):
        parse(model, "x", ["--help"])
    options = re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)
    assert options[:3] == ["--source", "--source-endpoint", "--file-list"]


def test_which_stages_run_is_asked_next_and_the_rest_in_the_order_of_the_stages() -> None:
    names = [*FullPipelineParameters.model_fields]
    order = ["source", "dask_address", "first", "resume", "recipe", "stop_on", "endpoint_name", "night_photos"]
    assert sorted(order, key=names.index) == order


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--limit", "0"], "--limit"), (["--limit", "many"], "--limit"), (["--limmit", "3"], "--limmit")],
)
def test_mistakes_are_named_and_end_with_two(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(Parameters, "x", arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], {"resume": None, "first": "prepare", "skip": ()}),
        (["--resume"], {"resume": "newest"}),
        (["--resume", "261125-162900"], {"resume": "261125-162900"}),
        (["--from", "evaluate", "--skip", "deploy,night"], {"stages": ("evaluate", "register")}),
        (["--skip", "tune", "--skip", "debug", "--run", "261125-162900"], {"run": "261125-162900"}),
    ],
)
def test_which_stages_run_and_what_they_go_on_from(arguments: list[str], found: dict[str, Any]) -> None:
    parameters = parse(FullPipelineParameters, "x", arguments)
    assert {name: getattr(parameters, name) for name in found} == found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume", "--limit", "3"], "leave out limit"),
        (["--from", "night", "--skip", "night"], "nothing is left to run"),
        (["--from", "nigt"], "--from: Input should be 'prepare'"),
        (["--resume", "yesterday's"], "--resume: "),
        (["--resume", "x"], "--resume: 'x' is not the name of a folder in <home>/runs"),
        (["--run", "261125-162900"], "add from or skip"),
        (
            ["--endpoint-name", "my_endpoint"],
            "--endpoint-name: 'my_endpoint' is not a name of small letters, digits and hyphens",
        ),
        (["--endpoint-name", "Bins"], "'Bins' is not a name of small letters"),
        (["--learning-rates", "0.1"], "--learning-rates, value 2: Field required"),
        (["--learning-rates", "nan,nan"], "separated by commas"),
        (["--rules", "Overfit"], '--rules \'{"Overfit": {"patience": "3"}}\''),
        (["--dask-address", "tcp://a:1"], "goes with --runner dask"),
        (["--source-endpoint", "https://s3.us-east-1.amazonaws.com"], "goes with --source abid"),
        (["--source", "abid", "--source-endpoint", "here"], "--source-endpoint: source_endpoint looks like https://"),
        (["--stop-on", "Overfitt"], "no rule 'Overfitt'"),
        (["--stop-on", "StepOutlier"], "--stop-on: StepOutlier is on the profile"),
        (["--stop-on", "LossNotDecreasing"], "--stop-on: LossNotDecreasing needs num_steps"),
    ],
)
def test_stages_that_make_no_sense_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(FullPipelineParameters, "x", arguments)
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_options_with_several_values_say_how_they_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(FullPipelineParameters, "x", ["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Comma-separated: 0.001,0.1." in said
    assert "Comma-separated." in said


def test_variables_of_the_shell_are_not_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT", "5")
    monkeypatch.setenv("limit", "5")
    assert parse(Parameters, "x", []).limit is None


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (
            ClientError({"Error": {"Code": "ResourceLimitExceeded", "Message": "0 of [ml]."}}, "CreateTrainingJob"),
            "AWS: CreateTrainingJob was refused: ResourceLimitExceeded: 0 of [ml]. docs/troubleshooting.md",
        ),
        (NoRegionError(), "AWS: You must specify a region. docs/troubleshooting.md"),
        (SettingsError("no [such] setting"), "Settings: no [such] setting"),
    ],
)
def test_what_is_foreseen_is_said_in_one_message(
    refused: Exception, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def flow(_: Parameters) -> None:
        raise refused

    monkeypatch.setattr("sys.argv", ["x"])
    monkeypatch.setattr(command_line, "use_prefect_server", lambda _: "http://nowhere/api")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert command_line.run(flow, Parameters, "x") == 1
    assert capsys.readouterr().err.startswith(said)


def test_what_s3_denies_is_said_in_one_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with denying_s3() as url:
        store = open_store("s3://bins", endpoint=url)
        for refused in (
            lambda: obstore.get(store, "1.jpg"),
            lambda: obstore.put(store, "1.jpg", b"x"),
            lambda: obstore.delete(store, [f"{number:050}.jpg" for number in range(1000)]),
            lambda: [*obstore.list(store)],
        ):
            with pytest.raises(FORESEEN) as error:
                refused()
            tell(error.value)
            said = capsys.readouterr().err
            assert said.startswith("AWS: ")
            assert "AccessDenied" in said
            assert "docs/troubleshooting.md" in said
            assert len(said.splitlines()) == 1
            assert len(said) < 600


@pytest.mark.parametrize(
    ("target", "submits", "warned"), [("aws", True, True), ("aws", False, False), ("local", True, False)]
)
def test_ctrl_c_says_what_goes_on_costing(
    target: Literal["aws", "local"],
    submits: bool,
    warned: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: Parameters) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["x"])
    monkeypatch.setattr(command_line, "settings", lambda: Settings.model_construct(target=target))
    monkeypatch.setattr(command_line, "use_prefect_server", lambda _: "http://nowhere/api")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    asks = (lambda draft, parameters: None) if submits else None
    assert command_line.run(interrupted, Parameters, "x", asks) == 130
    assert ("flows.teardown" in capsys.readouterr().err) == warned


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("flows.prepare_data", ["--demo-photos", "20"]),
        ("flows.review", []),
        ("tasks.services", ["up"]),
        ("tasks.services", ["down"]),
        ("localcloud", ["up", "--journal"]),
    ],
)
def test_a_home_that_cannot_be_made_is_said_in_one_message(module: str, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # nothing can be made below it, not even by root
    nowhere = Installation(tmp_path / "file/home")
    said = (Commands(nowhere) if module.startswith("flows.") else nowhere).run(module, *arguments, code=1)
    assert "Traceback" not in said
    assert str(tmp_path / "file/home") in said.replace("\n", "")
    assert "BINVENTORY_HOME" in said


def test_localcloud_that_has_no_home_does_not_run_and_can_be_asked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = Installation(tmp_path / "file/home")
    assert "not running" in nowhere.run("localcloud", "status", code=3)
    assert "nothing was running" in nowhere.run("localcloud", "down")
    assert "does not run" in nowhere.run("localcloud", "env", code=1)


def imported(wanted: str, *flows: str) -> list[str]:
    """Which of the packages are imported by importing these flows."""
    names = ", ".join(f"flows.{name}" for name in flows)
    asked = f"import sys, {names}; print(*{{*{wanted.split()}}} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, text=True, capture_output=True, check=True).stdout
    return said.split()


def test_commands_start_without_what_takes_longer_to_import_than_all_the_rest() -> None:
    """On every start of a command, ``--help`` too, and of a worker's run."""
    assert imported("torch smdebug sagemaker", "prepare_data", "deploy", "nightly_count", "review", "teardown") == []
    assert imported("sagemaker", "full_pipeline") == []
