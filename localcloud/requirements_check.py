"""Whether what a code archive's ``requirements.txt`` asks for is installed here. Nothing is ever installed."""

from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement


def unsatisfied(requirements: Path) -> list[str]:
    """The lines that this interpreter does not satisfy, each with the reason; empty when all are."""
    problems = []
    for line in requirements.read_text().splitlines():
        wanted = line.split(" #")[0].strip()
        if wanted and not wanted.startswith("#"):
            problem = _problem(wanted)
            if problem is not None:
                problems.append(f"{wanted}: {problem}")
    return problems


def _problem(line: str) -> str | None:
    if line.startswith("-"):
        return "options are not supported here, list the packages"
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        return str(error).splitlines()[0]
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    try:
        installed = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return "not installed"
    if not requirement.specifier.contains(installed, prereleases=True):
        return f"{installed} is installed"
    return None
