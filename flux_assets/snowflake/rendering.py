"""Snow CLI's templates: `<% name %>` in SQL text, rendered exactly as `snow sql -D name=value` does.

Here: the Jinja2 environment. Not here: what the variables mean (query.py) and the texts themselves.
"""

from __future__ import annotations

from functools import cache, lru_cache

from jinja2 import Environment, StrictUndefined, Template

# Snow CLI knows no blocks: its environment is given marks for them that nobody writes.
_NO_BLOCKS = "___very___unique___block___to___disable___logic___blocks___"


def render(template: str, **variables: str) -> str:
    """The text with its variables put in; a variable that is missing and has no default is an error."""
    return compiled(template).render(variables)


@lru_cache(maxsize=32)
def compiled(template: str) -> Template:
    """The template, ready to be rendered; it takes as long as a small query."""
    return _environment().from_string(template)


@cache
def _environment() -> Environment:
    return Environment(
        variable_start_string="<%",
        variable_end_string="%>",
        block_start_string=_NO_BLOCKS,
        block_end_string=_NO_BLOCKS,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - SQL, not HTML
    )
