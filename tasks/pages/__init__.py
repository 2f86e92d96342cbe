"""Pages that people look at: one file each, pictures included, that asks no server for anything."""

import re
from pathlib import Path, PurePosixPath

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape


def render(template: Path, **context: object) -> str:
    """Fill in a template; it may extend ``base.html.j2`` of this folder.

    Filters besides Jinja's: ``percent`` (0.5 is 50.0%), ``code`` (sets names in backticks as code) and ``name`` (of a
    key's last part).
    """
    folders = FileSystemLoader([template.parent, Path(__file__).parent])
    environment = Environment(loader=folders, autoescape=True, undefined=StrictUndefined)
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    environment.filters["code"] = _with_code
    environment.filters["name"] = lambda key: PurePosixPath(key).name
    return environment.get_template(template.name).render(context)


def _with_code(text: str) -> Markup:
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just before
