"""Refuses what cannot be carried by its path, or leaves it out and names it under `drop_params`."""

import re
from collections.abc import Container, Mapping
from typing import TypeVar

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import InvalidRequest, UnsupportedField
from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.parts import At

# They stand for content that the provider keeps, or say where an answer is kept: never left out.
_CONTENT = {
    name: f"the model's provider does not store OpenAI's {what}: send the whole conversation"
    for name, what in (
        ("previous_response_id", "responses"),
        ("conversation", "conversations"),
        ("prompt", "prompts"),
    )
} | {
    "thread": "the model's provider does not keep threads: send the whole conversation",
    "background": "the model's provider cannot answer in the background",
}

T = TypeVar("T")

_TYPES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_NAMED_TYPE = re.compile(r"`([^`]+)`")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]+)`")
_VALUE = re.compile(r"Invalid (?:enum )?value (.+)")


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """The paths by which a client's format names parts of a request.

    `turns` is the list of turns and `parts` of a turn's parts; `fields` names the conversation's
    fields, such as `limits.stop`, in the format's words.
    """

    format: ClientFormat
    turns: str
    parts: tuple[str, ...]
    fields: Mapping[str, str]

    def of(self, at: At, member: str | None = None) -> str:
        """`messages[3].content[1]` of (3, 1); system blocks have a negative first index, -1 - n."""
        if at and at[0] < 0:
            return self._with(f"system[{-1 - at[0]}]", member)
        path = self.turns + (f"[{at[0]}]" if at else "")
        for depth, index in enumerate(at[1:]):
            path += f".{self.parts[min(depth, len(self.parts) - 1)]}[{index}]"
        return self._with(path, member)

    def field(self, name: str) -> str:
        return self.fields.get(name, name)

    def of_body(self, names: Container[str]) -> "Paths":
        """For a body with those top-level names, where the format has two words for one thing."""
        return self

    def tool(self, at: At, member: str | None = None) -> str:
        """`tools[2].strict` of (2,) and `strict`, in the format's words."""
        return self._with(f"tools[{at[0]}]", member)

    @staticmethod
    def _with(path: str, member: str | None) -> str:
        return path if member is None else f"{path}.{member}"


class Report:
    """The changes of a translation. `drops` lets options, never content, be left out."""

    __slots__ = ("_adapted", "_dropped", "drops", "paths")

    def __init__(self, paths: Paths, *, drops: bool) -> None:
        self.paths = paths
        self.drops = drops
        self._dropped: dict[str, None] = {}
        self._adapted: dict[str, None] = {}

    def unsupported(self, path: str, why: str | None = None) -> None:
        """An option that cannot be carried. Raises UnsupportedField, or notes what is left out."""
        if path in _CONTENT:
            raise unsupported(path, _CONTENT[path])
        if not self.drops:
            raise unsupported(path, why)
        self._dropped[path] = None

    def adapted(self, path: str) -> None:
        """Notes a field that was weakened or expressed differently."""
        self._adapted[path] = None

    @property
    def has_changed(self) -> bool:
        return bool(self._dropped or self._adapted)

    @property
    def dropped_params(self) -> tuple[str, ...]:
        return tuple(self._dropped)

    @property
    def adapted_params(self) -> tuple[str, ...]:
        return tuple(self._adapted)


def unsupported(path: str, why: str | None = None) -> UnsupportedField:
    """For content, which is never left out: an error to raise."""
    reason = why or "this field cannot be carried to the model's provider"
    return UnsupportedField(f"{path}: {reason}.", param=path)


def uncarried(path: str, kind: str) -> UnsupportedField:
    """For an `Opaque`, which only the family and format that it comes from can read."""
    why = f"{kind} cannot be carried to the model's provider"
    if kind.startswith("compaction"):
        why += "; the conversation before it was compacted where nobody else can read it"
    return unsupported(path, why)


def invalid(path: str, why: str) -> InvalidRequest:
    """The client's own mistake."""
    return InvalidRequest(f"{path}: {why}.", param=path)


def decode_at(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw | bytes, path: str) -> T:
    """What the client sent at `path`. Raises InvalidRequest with the path of what is wrong in it,
    UnsupportedField for a member that the decoder's type does not have and forbids.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _shape_error(path, str(error)) from None
    except UNREADABLE:
        raise invalid(path, "not readable as JSON, or text that is not Unicode") from None


def _shape_error(path: str, words: str) -> InvalidRequest:
    problem, _, where = words.partition(" - at `$")
    path += where.rstrip("`")
    if found := _MISSING.fullmatch(problem):
        return invalid(f"{path}.{found[1]}", "this field is missing")
    if found := _UNKNOWN.fullmatch(problem):
        return unsupported(f"{path}.{found[1]}", "unknown field")
    if found := _VALUE.fullmatch(problem):
        return invalid(path, f"{found[1]} is not a known value")
    # "Expected `str`, got `int`", or a number out of its range.
    plain = _NAMED_TYPE.sub(_type, problem).replace(", got ", ", not ")
    return invalid(path, plain[:1].lower() + plain[1:])


def _type(match: re.Match[str]) -> str:
    return " or ".join(_TYPES.get(name, name) for name in match[1].split(" | "))
