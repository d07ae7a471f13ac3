"""The filters of a list: a form whose fields are the query parameters of the page's URL."""

import typing
from collections.abc import Mapping
from typing import Any

from htpy import Renderable, button, form, label, option, select

from services.admin.console.elements import text_filter
from services.admin.console.page import View


def filters(
    view: View, texts: Mapping[str, str], choices: Mapping[str, tuple[str, Any]] | None = None
) -> Renderable:
    """`texts` are labels by parameter; a choice has its label and its words.

    These are a type, whose words are shown as they are, or what is shown of each.
    """
    query = view.query
    return form(".filters", method="get", action=view.path, role="search")[
        (text_filter(field, name, query) for field, name in texts.items()),
        (
            label[name, _choice(field, words, query.get(field, ""))]
            for field, (name, words) in (choices or {}).items()
        ),
        button(type="submit")["Filter"],
    ]


def _choice(field: str, words: Any, current: str) -> Renderable:
    texts = words
    if not isinstance(words, Mapping):
        texts = {each: each.replace("_", " ") or "any" for each in ("", *_words(words))}
    return select(name=field)[
        (option(value=each, selected=each == current)[text] for each, text in texts.items())
    ]


def _words(annotation: Any) -> list[str]:
    """Of a Literal, or of a union of some."""
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [word for part in typing.get_args(annotation) for word in _words(part)]
