"""All calls that write to the log, as the source has them, and the table of them for the docs.

`python -m tests.unit.log_calls` writes that table to docs/log.md anew.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "log.md"
LOG_CALLS = {"debug", "info", "warning", "error", "exception", "critical"}
_LOGS = re.compile(r"\blog\b|\b_log\b|get_logger")
_TABLE = re.compile(r"^\| event \|.*\n(?:\|.*\n)+", re.MULTILINE)
# Printed as the level that they have.
_LEVELS = {"exception": "error"}


@cache
def log_calls() -> tuple[tuple[str, ast.Call], ...]:
    """Each with its place, `path:line`; among them those that make a logger."""
    return tuple(_find_calls())


def _find_calls() -> Iterator[tuple[str, ast.Call]]:
    for folder in ("libs", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            # Most modules log nothing, and need not be parsed.
            for node in ast.walk(ast.parse(text)) if _LOGS.search(text) else ():
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "_log"), attr=name)):
                        if name in LOG_CALLS:
                            yield f"{path.relative_to(ROOT)}:{node.lineno}", node
                    case ast.Call(func=ast.Attribute(attr="get_logger")):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def table() -> str:
    """A row per event: who writes it, at which levels, with which fields."""
    places: defaultdict[str, set[str]] = defaultdict(set)
    levels: defaultdict[str, set[str]] = defaultdict(set)
    fields: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for place, call in log_calls():
        match call:
            case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(value=str(event))]):
                places[event].add(_service(place))
                levels[event].add(_LEVELS.get(name, name))
                names = (field.arg or "…" for field in call.keywords)
                fields[event] |= dict.fromkeys(
                    "exception" if field_name == "exc_info" else field_name for field_name in names
                )
                if name == "exception":
                    fields[event]["exception"] = None
    rows = ["| event | of | level | fields |", "|---|---|---|---|"]
    rows += [
        f"| `{event}` | {', '.join(sorted(places[event]))} | {', '.join(sorted(levels[event]))} "
        f"| {', '.join(f'`{field}`' for field in fields[event])} |"
        for event in sorted(fields | places)
    ]
    return "\n".join(rows) + "\n"


def written_table() -> str:
    found = _TABLE.search(PAGE.read_text())
    return "" if found is None else found[0]


def _service(place: str) -> str:
    match Path(place).parts:
        case ("services", "ledger_worker", *_):
            return "worker"
        case ("services", service, *_):
            return service
    return "any"


if __name__ == "__main__":
    PAGE.write_text(_TABLE.sub(lambda _: table(), PAGE.read_text()))
