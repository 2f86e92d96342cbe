"""CloudWatch's filter patterns for plain text: terms that must, may (``?``) and must not (``-``) occur."""

import re
from collections.abc import Callable

from localcloud.errors import AwsError

_TERM = re.compile(r'([?-]?)("(?:[^"\\]|\\.)*"|\S+)')


def matcher(pattern: str) -> Callable[[str], bool]:
    """A test of messages for a filter pattern. Raises InvalidParameterException for others.

    JSON and space-delimited patterns are others too.
    """
    pattern = pattern.strip()
    if pattern.startswith(("{", "[")):
        message = "localcloud understands filter patterns of terms only, not JSON or space-delimited ones."
        raise AwsError("InvalidParameterException", message, 400)
    if pattern.startswith("%") and pattern.endswith("%") and len(pattern) > 2:
        try:
            compiled = re.compile(pattern[1:-1])
        except re.error as error:
            message = f"Invalid filter pattern: {pattern} is no regular expression: {error}"
            raise AwsError("InvalidParameterException", message, 400) from error
        return lambda message: compiled.search(message) is not None
    terms = [(sign, term.strip('"').replace('\\"', '"')) for sign, term in _TERM.findall(pattern)]
    needed = [term for sign, term in terms if not sign]
    optional = [term for sign, term in terms if sign == "?"]
    refused = [term for sign, term in terms if sign == "-"]
    return lambda message: (
        all(term in message for term in needed)
        and (not optional or any(term in message for term in optional))
        and not any(term in message for term in refused)
    )
