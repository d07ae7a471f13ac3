"""A file of declared state, read and checked before anything is asked of the gateway."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewayctl.documents import YamlDocument
from gatewayctl.errors import Misused
from gatewayctl.state.fields import REQUIRED, FieldShape
from gatewayctl.state.kinds import BY_SECTION, Kind
from gatewayctl.values import Row

_VERSION = "version"
_MOST_NAMED = 50


@dataclass(frozen=True)
class Declared:
    """`where` is the file and line that says so."""

    kind: Kind
    body: Row
    where: str

    @property
    def name(self) -> str:
        return self.kind.name_of(self.body)


@dataclass(frozen=True)
class Declaration:
    """`sections` are those that the file has, empty ones too: only these are pruned."""

    objects: Sequence[Declared]
    sections: frozenset[str]

    def of(self, kind: Kind) -> Iterator[Declared]:
        return (each for each in self.objects if each.kind is kind)


def read_declaration(document: YamlDocument) -> Declaration:
    """Raises Misused with every problem, and the line of each."""
    content = document.content
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        raise Misused(f"{document.where()}: is not a mapping of {', '.join(BY_SECTION)}.")
    problems: list[str] = []
    objects: list[Declared] = []
    for section, rows in content.items():
        if section == _VERSION:
            if rows != 1:
                problems.append(f"{document.where(section)}: version must be 1")
        elif section not in BY_SECTION:
            known = ", ".join((_VERSION, *BY_SECTION))
            problems.append(f"{document.where(section)}: {section!r} is not one of {known}")
        else:
            objects += _section(document, section, rows, problems)
    _check_names(objects, problems)
    if problems:
        raise Misused(f"{document.name}: {len(problems)} problems.", details=problems[:_MOST_NAMED])
    sections = frozenset(name for name in content if name in BY_SECTION)
    return Declaration(tuple(objects), sections)


def _section(
    document: YamlDocument, section: str, rows: Any, problems: list[str]
) -> Iterator[Declared]:
    kind = BY_SECTION[section]
    if rows is None:
        return
    if not isinstance(rows, list):
        problems.append(f"{document.where(section)}: {section} must be a list")
        return
    for place, row in enumerate(rows):
        where = document.where(section, place)
        before = len(problems)
        _check(document, (section, place), row, kind.shape, problems)
        if len(problems) == before:
            problems += [f"{where}: {problem}" for problem in _identity_problems(kind, row)]
        if len(problems) == before:
            yield Declared(kind, dict(row), where)


def _identity_problems(kind: Kind, row: Mapping[str, Any]) -> Iterator[str]:
    names = {*kind.identity, *kind.found_by}
    for name in sorted(names):
        if row.get(name) is not None and not isinstance(row[name], str):
            yield f"{name} must be a text"
    if not any(row.get(name) for name in kind.found_by):
        yield f"{' or '.join(kind.found_by)} is required"


def _check(
    document: YamlDocument,
    path: tuple[str | int, ...],
    value: Any,
    shape: FieldShape,
    problems: list[str],
) -> None:
    """Names fields that are not known, and those that are missing."""
    if not isinstance(value, Mapping):
        problems.append(f"{document.where(*path)}: must be a mapping of fields")
        return
    problems += [
        f"{document.where(*path, name)}: there is no field {name!r} here"
        for name in value
        if name not in shape.own
    ]
    problems += [
        f"{document.where(*path)}: {name} is required"
        for name, default in shape.own.items()
        if default is REQUIRED and value.get(name) is None
    ]
    for name, inner_shape in shape.objects.items():
        if value.get(name) is not None:
            _check(document, (*path, name), value[name], inner_shape, problems)
    for name, inner_shape in shape.items.items():
        rows = value.get(name)
        if isinstance(rows, list):
            for place, row in enumerate(rows):
                _check(document, (*path, name, place), row, inner_shape, problems)
        elif rows is not None:
            problems.append(f"{document.where(*path, name)}: {name} must be a list")


def _check_names(objects: Sequence[Declared], problems: list[str]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for item in objects:
        own_id = item.body.get(item.kind.id_field or "")
        first = seen.setdefault((item.kind.name, own_id or item.name), item.where)
        if first != item.where:
            problems.append(
                f"{item.where}: the {item.kind.name} {item.name!r} is declared before, at {first}"
            )
