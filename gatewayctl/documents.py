"""YAML as values that keep every digit, with the line of each of them.

Numbers with a point are Decimals, dates stay text. A key that is given twice is an error: whoever
wrote it meant both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewayctl.errors import Misused

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 8 * 1024 * 1024
# Aliases make large documents of small ones.
_MAX_VALUES = 500_000
_MAX_DEPTH = 50
_TAG = "tag:yaml.org,2002:"

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlDocument:
    """`lines` are those of every value by its path, counted from 1."""

    name: str
    content: Any
    lines: Mapping[Path_, int]

    def where(self, *path: str | int) -> str:
        """`gateway.yaml:12`, of the value or of the closest one around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.name}:{self.lines.get(path, 1)}"


def read_document(path: Path) -> YamlDocument:
    """Raises Misused, with the line, for what cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Misused(f"{path}: {error.strerror}") from None
    return parse_document(raw, str(path))


def parse_document(raw: bytes, name: str) -> YamlDocument:
    """Raises Misused, with the line."""
    import yaml

    if len(raw) > MAX_BYTES:
        raise Misused(f"{name}: is larger than {MAX_BYTES // 1024**2} MiB.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Misused(f"{name}:{line}: is not UTF-8.") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise Misused(f"{name}:{line}: is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "is nested too deeply"
        raise Misused(f"{name}: is not YAML: {reason}") from None
    reading = _Reading(name)
    content = None if root is None else reading.value(root, ())
    return YamlDocument(name, content, reading.lines)


class _Reading:
    def __init__(self, name: str) -> None:
        self.lines: dict[Path_, int] = {}
        self._name = name
        self._values = 0

    def value(self, node: "yaml.Node", path: Path_) -> Any:
        """Raises Misused."""
        import yaml

        self._values += 1
        if self._values > _MAX_VALUES or len(path) > _MAX_DEPTH:
            raise self._fault(node, f"has more than {_MAX_VALUES:,} values, or {_MAX_DEPTH} levels")
        self.lines[path] = _line(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, "seq")
            return [self.value(each, (*path, place)) for place, each in enumerate(node.value)]
        return self._mapping(node, path)

    def _mapping(self, node: "yaml.Node", path: Path_) -> dict[str, Any]:
        self._check_tag(node, "map")
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, inner in node.value:
            if key.tag == f"{_TAG}merge":
                for each in _merged_nodes(inner):
                    base = self.value(each, path)
                    if not isinstance(base, dict):
                        raise self._fault(inner, "merges what is not a mapping")
                    merged = {**base, **merged}
                continue
            name = key.value
            if not isinstance(name, str):
                raise self._fault(key, "has a key that is not text")
            if name in own:
                raise self._fault(key, f"has the key {name!r} twice")
            own[name] = self.value(inner, (*path, name))
            self.lines[(*path, name)] = _line(key)
        return {**merged, **own}

    def _scalar(self, node: "yaml.ScalarNode") -> Any:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        plain = text.replace("_", "")
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return text.lower() in ("true", "yes", "on")
            if kind == "int":
                return _integer(plain)
            if kind == "float":
                number = Decimal(plain)
                if not number.is_finite():
                    raise self._fault(node, f"has a malformed number: {text}")
                return number
        except (ValueError, InvalidOperation):
            raise self._fault(node, f"has a number that cannot be read: {text}") from None
        if kind not in ("str", "timestamp"):
            raise self._fault(node, f"has a value of the kind {node.tag}")
        return text

    def _check_tag(self, node: "yaml.Node", kind: str) -> None:
        if node.tag != _TAG + kind:
            raise self._fault(node, f"has a value of the kind {node.tag}")

    def _fault(self, node: "yaml.Node", message: str) -> Misused:
        return Misused(f"{self._name}:{_line(node)}: {message}.")


def _merged_nodes(node: "yaml.Node") -> "Iterator[yaml.Node]":
    import yaml

    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    else:
        yield node


def _line(node: "yaml.Node") -> int:
    return int(node.start_mark.line) + 1


def _integer(text: str) -> int:
    """YAML 1.1 writes octal numbers with a leading zero. Raises ValueError."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if len(digits) > 1 and digits[0] == "0" and digits.isdecimal():
        return sign * int(digits, 8)
    return sign * int(digits, 0)
