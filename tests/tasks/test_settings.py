"""Settings come from the environment or `.env`; mistakes are named."""

from pathlib import Path

import pytest

from tasks.settings import load_settings, settings
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


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().bucket = "other"  # type: ignore[misc]


def test_a_home_of_a_user_whom_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINVENTORY_HOME", "~nobody-knows-whom/home")
    settings.cache_clear()
    with pytest.raises(SettingsError, match="BINVENTORY_HOME: ~nobody-knows-whom/home is nowhere"):
        settings()
