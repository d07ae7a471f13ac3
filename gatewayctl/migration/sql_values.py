"""The rows of one INSERT statement, as pg_dump writes it."""

import re

_VALUES = "VALUES"
# A string, with or without escapes; a bare word, such as NULL, true or -1.5.
_TOKEN = re.compile(
    r"\s*(?:(?P<string>[Ee]?'(?:[^'\\]|''|\\.)*')|(?P<word>[A-Za-z0-9_.+-]+)|(?P<mark>[(),;]))"
    r"(?:::[a-z \[\]0-9()_\"]+)?",
    re.DOTALL,
)
_PLAIN = re.compile(r"'(?:[^']|'')*'")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def rows_of_insert(text: str) -> tuple[list[str], list[list[str | None]]]:
    """The names of columns, where it has some, and the values. Raises ValueError."""
    columns: list[str] = []
    rest = text.lstrip()
    if rest.startswith("("):
        inner, closed, rest = rest[1:].partition(")")
        if not closed:
            raise ValueError("has columns without an end")
        columns = [each.strip() for each in inner.split(",")]
    rest = rest.strip()
    if not rest.startswith(_VALUES):
        raise ValueError("has no VALUES")
    return columns, _rows(rest[len(_VALUES) :])


def _rows(text: str) -> list[list[str | None]]:
    rows: list[list[str | None]] = []
    row: list[str | None] | None = None
    position = 0
    while position < len(text.rstrip()):
        position, value, mark = _token(text, position)
        if mark == "(" and row is None:
            row = []
        elif mark == ")" and row is not None:
            rows.append(row)
            row = None
        elif mark == "" and row is not None:
            row.append(value)
        elif mark not in (",", ";"):
            raise ValueError("is not a row of values")
    if row is not None:
        raise ValueError("has a row without an end")
    return rows


def _token(text: str, position: int) -> tuple[int, str | None, str]:
    """Where it ends; its value, or its mark. Raises ValueError."""
    while position < len(text) and text[position].isspace():
        position += 1
    plain = _PLAIN.match(text, position)
    if plain is not None:
        end = _cast_end(text, plain.end())
        return end, plain[0][1:-1].replace("''", "'"), ""
    match = _TOKEN.match(text, position)
    if match is None:
        raise ValueError(f"has a value that cannot be read: {text[position : position + 20]!r}")
    if match["mark"]:
        return match.end("mark"), None, match["mark"]
    if match["string"]:
        inner = match["string"][2:-1].replace("''", "'")
        return match.end(), re.sub(r"\\(.)", _unescape, inner, flags=re.DOTALL), ""
    word = match["word"]
    return match.end(), None if word.upper() == "NULL" else word, ""


def _cast_end(text: str, position: int) -> int:
    cast = re.compile(r"::[a-z_ \[\]\"]+(?:\(\d+\))?").match(text, position)
    return position if cast is None else cast.end()


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[1])
