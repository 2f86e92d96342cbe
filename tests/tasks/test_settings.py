"""Settings come from the environment or `.env`; mistakes are named."""

from pathlib import Path

import pytest

from tasks.settings import Settings, load_settings, settings
from training.errors import SettingsError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "TARGET", "BUCKET"):
        monkeypatch.delenv(f"BINVENTORY_{name}", raising=False)


def test_the_default_is_the_embedded_cloud() -> None:
    loaded = load_settings()
    assert (loaded.target, loaded.home) == ("local", Path(".binventory"))


def test_a_dotenv_file_may_hold_settings_beside_other_programs_variables(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BINVENTORY_BUCKET=bins\nPREFECT_API_URL=http://127.0.0.1:4200/api\n")
    assert load_settings().bucket == "bins"


def test_the_environment_outranks_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("BINVENTORY_BUCKET=bins\n")
    monkeypatch.setenv("BINVENTORY_BUCKET", "others")
    assert load_settings().bucket == "others"


@pytest.mark.parametrize("where", ["environment", "file"])
def test_an_unknown_setting_is_refused_with_a_hint(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if where == "file":
        (tmp_path / ".env").write_text("BINVENTORY_BUKET=bins\n")
    else:
        monkeypatch.setenv("BINVENTORY_BUKET", "bins")
    with pytest.raises(SettingsError, match="Did you mean BINVENTORY_BUCKET"):
        load_settings()


def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_TARGET", "azure")
    with pytest.raises(SettingsError, match="BINVENTORY_TARGET"):
        load_settings()


@pytest.mark.parametrize(
    ("target", "variables", "region"),
    [
        ("aws", {}, "us-east-1"),
        ("aws", {"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ("aws", {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-central-1"}, "eu-central-1"),
        ("aws", {"AWS_REGION": "eu-central-1", "BINVENTORY_REGION": "eu-north-1"}, "eu-north-1"),
        ("local", {"AWS_REGION": "eu-central-1"}, "us-east-1"),
    ],
)
def test_on_aws_the_shells_region_is_taken_where_none_is_set(
    target: str, variables: dict[str, str], region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "BINVENTORY_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (variables | {"BINVENTORY_TARGET": target}).items():
        monkeypatch.setenv(name, value)
    assert load_settings().region == region


def test_a_region_in_the_file_outranks_the_shells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("BINVENTORY_TARGET=aws\nBINVENTORY_REGION=eu-north-1\n")
    monkeypatch.delenv("BINVENTORY_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert load_settings().region == "eu-north-1"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().bucket = "other"  # type: ignore[misc]


def test_a_home_of_a_user_whom_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_HOME", "~nobody-knows-whom/home")
    settings.cache_clear()
    with pytest.raises(SettingsError, match="BINVENTORY_HOME: ~nobody-knows-whom/home is nowhere"):
        settings()


@pytest.mark.parametrize(
    ("name", "instance", "why"),
    [
        ("SERVING", "ml.c7g.xlarge", "of Amazon's own"),
        ("TRAINING", "ml.trn1.2xlarge", "of Amazon's own"),
        ("TRANSFORM", "ml.g5.xlarge", "paid for and not used"),
        ("SERVING", "ml.g4dn.xlarge", "paid for and not used"),
    ],
)
def test_instances_that_containers_do_not_run_on_or_do_not_use_are_refused(
    name: str, instance: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"BINVENTORY_{name}_INSTANCE", instance)
    with pytest.raises(SettingsError, match=f"{name}_INSTANCE.*{why}"):
        load_settings()


@pytest.mark.parametrize("instance", ["ml.c7i.xlarge", "ml.m5dn.xlarge", "ml.c6a.large", "ml.r7i.2xlarge"])
def test_other_instances_serve(instance: str) -> None:
    assert Settings(serving_instance=instance).serving_instance == instance
