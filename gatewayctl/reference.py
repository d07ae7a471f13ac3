"""Writes the commands into docs/cli.md: `python -m gatewayctl.reference docs/cli.md`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from gatewayctl.app import app
from gatewayctl.commands import OF_ALL

MARK = "<!-- From here on made by `make cli-docs` from the commands. -->\n"


def with_reference(text: str) -> str:
    """The page with the commands below its mark as they are. Raises ValueError without a mark."""
    head, mark, _ = text.partition(MARK)
    if not mark:
        raise ValueError(f"there is no line {MARK.strip()!r}")
    return f"{head}{mark}\n" + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    root: Any = get_command(app)
    yield "## Options of every command\n"
    first_command = next(command for _, command in _leaves(root, ""))
    yield from _table([p for p in first_command.params if _is_common(p)])
    yield "\n`--idempotency-key KEY` is one of all that create or start something."
    nouns = {name: each for name, each in root.commands.items() if hasattr(each, "commands")}
    yield "\n## Commands without a noun"
    for name, command in root.commands.items():
        if name not in nouns:
            yield from _command(name, command)
    for name, group in nouns.items():
        yield f"\n## {name}\n\n{group.help}"
        for path, command in _leaves(group, name):
            yield from _command(path, command)


def _leaves(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        command_path = f"{path} {name}".strip()
        if hasattr(command, "commands"):
            yield from _leaves(command, command_path)
        else:
            yield command_path, command


def _command(path: str, command: Any) -> Iterator[str]:
    params = [param for param in command.params if not _is_common(param)]
    arguments = [param for param in params if param.param_type_name == "argument"]
    usage = " ".join(_argument(param) for param in arguments)
    options = " [OPTIONS]" if len(params) > len(arguments) else ""
    yield f"\n### {path}\n\n`{f'gatewayctl {path} {usage}'.strip()}{options}`"
    yield f"\n{command.help}"
    if params:
        yield ""
        yield from _table(params)


def _argument(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _table(params: list[Any]) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for param in params:
        yield f"| {_name(param)} | {_cell(param)} |"


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{_argument(param)}`"
    names = ", ".join(f"`{name}`" for name in [*param.opts, *param.secondary_opts])
    return names if param.is_flag else f"{names} {param.metavar}"


def _cell(param: Any) -> str:
    text = " ".join((param.help or "").split()).replace("|", "\\|")
    if param.required and param.param_type_name == "option":
        text = f"{text} Required.".strip()
    default = param.default
    if param.multiple:
        text = f"{text} May be repeated.".strip()
    elif default not in (None, False, True) and not callable(default):
        text = f"{text} By default {default}.".strip()
    return text


def _is_common(param: Any) -> bool:
    return str(param.name).startswith(OF_ALL)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_reference(page.read_text()))
