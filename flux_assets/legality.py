"""Plain words for what pydantic finds wrong with a value that a user set."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_WHOLE, _NUMBER, _SPAN = "must be a whole number", "must be a number", "must be a time span such as 36h or 14d"
# By pydantic's name of the error; braces are filled with its limits.
_WORDS = {
    "string_type": "must be text in quotes",
    "string_too_short": "must not be empty",
    "tuple_type": 'must be a list in brackets, such as ["ONE", "OTHER"]',
    "too_short": "must have at least {min_length} of them",
    "dict_type": "must be a table, with a key and its value on each line",
    "model_type": "must be a table, with a key and its value on each line",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": "is too large a number",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "time_delta_type": _SPAN,
    "time_delta_parsing": _SPAN,
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
}


def fault(problem: ErrorDetails) -> str:
    """Return one error as a sentence about the value, without the name of the setting: `must be a number`."""
    words = _WORDS.get(problem["type"])
    if words is None:
        return str(problem["msg"]).removeprefix("Value error, ")
    limits = problem.get("ctx", {}).items()
    return words.format(**{name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in limits})
