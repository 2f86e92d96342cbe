"""Finding the run whose results another one goes on from."""

from collections.abc import Sequence
from pathlib import Path

from tasks.run_record import result_file
from tasks.run_table import in_words
from tasks.runs import as_variables, elsewhere, read_json, run_folders
from tasks.settings import Settings
from training.errors import RunError


def find_donor(settings: Settings, stages: Sequence[str], run_id: str | None, wanted: dict[str, str]) -> Path:
    """The newest run that has the results of all these stages, or the given one if it has.

    Args:
        settings: where runs are, and where they must have been begun.
        stages: names of stages.
        run_id: of a run to take, whichever it is.
        wanted: sections of its summary that it must have so, like its source.

    Raises:
        RunError: there is none; names what is missing.
    """
    folders = run_folders(settings) if run_id is None else [settings.runs / run_id]
    asked = {"target": settings.target} | wanted
    fitting = [folder for folder in folders if _says(folder, asked)]
    begun = {folder: _begun_elsewhere(folder, stages, settings) for folder in fitting}
    for folder in fitting:
        if not begun[folder] and not _missing(folder, stages):
            return folder
    of = ", ".join(f"{name} {value}" for name, value in asked.items())
    need = f"What {in_words(stages)} left is needed"
    if not fitting and run_id:
        raise RunError(f"{need}, but run {run_id} is not in {settings.runs}, or not of {of}.")
    if not fitting:
        raise RunError(f"{need}, but there is no run of {of}: begin with prepare, or name another source.")
    fitting = [folder for folder in fitting if not begun[folder]]
    if not fitting:
        newest, there = next(iter(begun.items()))
        raise RunError(
            f"{need}, but run {newest.name} of {of} was begun with {as_variables(there)}: set that to go on from it, "
            "or begin with prepare."
        )
    lacking = f"run {fitting[0].name} of {of} lacks {in_words(_missing(fitting[0], stages))}"
    raise RunError(f"{need}, but {lacking}. Begin with an earlier stage.")


def _says(folder: Path, asked: dict[str, str]) -> bool:
    summary = read_json(folder / "summary.json")
    return all(summary.get(name) == value for name, value in asked.items())


def _begun_elsewhere(folder: Path, stages: Sequence[str], settings: Settings) -> dict[str, str]:
    """Where a run was begun, as far as that is not where the settings say. Its group matters to a registered model."""
    there = elsewhere(read_json(folder / "run.json"), settings)
    return {name: value for name, value in there.items() if name != "model_group" or "register" in stages}


def _missing(folder: Path, stages: Sequence[str]) -> list[str]:
    return [stage for stage in stages if not result_file(folder, stage).exists()]
