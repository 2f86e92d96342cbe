"""The deployments of ``prefect.yaml`` on our own server: brought up to date, but for what people changed there.

What the file said the last time is kept in ``<home>/prefect/``: whatever the server has instead, a person changed.
"""

import subprocess
import sys
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient

from tasks.daemon import clean_environment
from tasks.home import write_at_home
from tasks.prefect_worker import POOL, ROOT, variables
from tasks.settings import Settings
from training.errors import CloudError

_SCHEDULE = {"active": True, "day_or": True, "parameters": {}}
"""What a schedule has that doesn't say so."""


def deploy(settings: Settings, api_url: str) -> list[str]:
    """Make the work pool and every deployment of ``prefect.yaml``, or bring those that exist up to date.

    Returns:
        The deployments whose parameters or schedules stay as they were changed on the server.

    Raises:
        CloudError: Prefect refuses one; carries what it says.
        HomeError: the home folder cannot be written to.
    """
    file, last = _filled_in(settings), settings.home / "prefect" / "prefect.yaml"
    content = yaml.safe_load(file)
    changed: list[str] = []
    if last.exists():
        before = {each["name"]: each for each in yaml.safe_load(last.read_text())["deployments"]}
        there = {each["name"]: each for each in _deployments(api_url)}
        for each in content["deployments"]:
            if (name := each["name"]) in before.keys() & there.keys() and _keep(each, before[name], there[name]):
                changed.append(name)
    merged = last.with_name("deployed.yaml")
    write_at_home(merged, yaml.safe_dump(content, sort_keys=False))
    _prefect(settings, api_url, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    try:
        _prefect(settings, api_url, "--no-prompt", "deploy", "--all", "--prefect-file", str(merged))
    except CloudError as error:
        if not changed:
            raise
        raise CloudError(
            f"{error}\nParameters and schedules of {', '.join(changed)} were changed in Prefect's UI, and may not fit "
            f"this version. To have those of prefect.yaml, delete {last}, and start again."
        ) from error
    write_at_home(last, file)
    return changed


def _filled_in(settings: Settings) -> str:
    """Return ``prefect.yaml`` with what the settings say; where the checkout is Prefect fills in."""
    text = (ROOT / "prefect.yaml").read_text().replace("{{ $BINVENTORY_BUCKET }}", settings.bucket)
    return text.replace("{{ $BINVENTORY_TIMEZONE }}", settings.timezone)


def _deployments(api_url: str) -> list[dict[str, Any]]:
    try:
        with SyncPrefectClient(api_url) as client:  # asks again where the server is too busy to answer
            answer = client.request("POST", "/deployments/filter", json={})
    except httpx.HTTPError as error:
        raise CloudError(f"The Prefect server at {api_url} does not say what is deployed there: {error}") from error
    found: list[dict[str, Any]] = answer.json()
    return found


def _keep(said: dict[str, Any], before: dict[str, Any], there: dict[str, Any]) -> bool:
    """Put into what the file says of a deployment what was changed on the server; return whether anything was."""
    theirs: dict[str, Any] = {"paused": True} if there["paused"] else {}
    if there["parameters"] != before.get("parameters", {}):
        theirs["parameters"] = there["parameters"]
    known, ours = ({each["slug"]: _SCHEDULE | each for each in file.get("schedules", [])} for file in (before, said))
    schedules = []
    for each in there["schedules"]:
        found = {name: each[name] for name in ("slug", "active", "parameters")} | each["schedule"]
        was = known.get(found["slug"], {})
        if found != was:
            now = ours.pop(found["slug"], found)
            schedules.append({name: now.get(name) if was.get(name) == it else it for name, it in found.items()})
    if schedules:
        theirs["schedules"] = [*ours.values(), *schedules]
    said.update(theirs)
    return bool(theirs)


def _prefect(settings: Settings, api_url: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        cwd=ROOT,
        env=clean_environment() | variables(settings, api_url),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CloudError(f"`prefect {' '.join(arguments)}` failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")
