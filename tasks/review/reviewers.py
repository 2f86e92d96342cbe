"""Who is one person: names as they are compared, here and in the ledger."""

from typing import Any
from unicodedata import normalize

from sqlalchemy import ColumnElement, func


def person(name: str) -> str:
    """Return a name as it is compared and written: a tablet's capital letter makes nobody a second witness."""
    return normalize("NFKC", normalize("NFKC", name).casefold())


def person_in_sql(name: Any) -> ColumnElement[str]:
    """Return the same for a name in the ledger: those that earlier versions wrote have their capitals."""
    return func.lower(name)


def is_of(answer: Any, name: str) -> ColumnElement[bool]:
    """Whether an answer in the ledger is this person's."""
    return person_in_sql(answer.reviewer) == person_in_sql(person(name))


def holder(name: str, browser: str) -> str:
    """Return who holds a photo: a person at a browser, as two people of one name are not asked about one photo."""
    return f"{person(name)} at {browser}" if browser else person(name)
