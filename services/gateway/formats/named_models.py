"""Finds the models that a request names beside its own: a call may run them, too.

They stand in `models` and `fallbacks`, and in whatever is called `model`, `models` or ends so: in
tools (advisors, makers of images), moderation, or what the next release of an SDK brings. The names
go to the provider as they are, which knows no routes. What is not looked into is the client's own
data, such as schemas and arguments, and the records of who answered before.

A test walks the request types of the newest SDKs, and fails on a name that is in neither table.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from libs.common.errors import InvalidRequest
from services.gateway.formats.object_fields import OPAQUE, Members
from services.gateway.formats.objects import decoded, is_disguised

# Some servers read the names of a body's members in capitals as well.
_HEAD = re.compile(r"(?:.*_)?(?:models?|fallbacks)", re.IGNORECASE | re.DOTALL)
_MEMBER = re.compile(r"(?:.*_)?models?", re.DOTALL)
_MEMBER_ENDS = (b'model"', b'models"')
_NAMES_FOLLOW = re.compile(rb'\s*:\s*["\[]')
_IMAGES, _IMAGES_BYTES = "image_generation", b"image_generation"
# OpenAI's own choice where such a tool names no model; it is run and charged for as well.
DEFAULT_IMAGE_MODEL = "gpt-image-2.6-sunburst"
# Of the body itself `input` is what Responses calls the conversation.
_CLIENTS_OWN = OPAQUE - {"input"}
# What earlier answers said of themselves.
RECORDS = frozenset({"from", "to", "usage", "svg_usage"})
_NOT_RUN = OPAQUE | RECORDS | {"variables"}
_MAX_NAMES, _MAX_NAME_CHARS = 64, 256
# How often a tool without `max_uses` is held for.
_ASSUMED_USES = 3

_parts = msgspec.json.Decoder(list[msgspec.Raw])


class NamedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the call may run: in the place of its own or, up to `uses` times, beside it.

    `max_tokens` and `fast` are what is asked of it there, where that differs from the call's.
    """

    path: str
    name: str
    instead: bool = False
    uses: int = 1
    max_tokens: int | None = None
    fast: bool = False


def named_models(body: bytes, fields: Mapping[str, msgspec.Raw]) -> tuple[NamedModel, ...]:
    """`fields` are those of the body. Raises InvalidRequest for what cannot be told."""
    disguised = is_disguised(body)
    heads = list(filter(_is_head, fields))
    if not heads and not disguised and not _may_name(body, beside_its_own=True):
        return ()
    found: list[NamedModel] = []
    for name, raw in fields.items():
        value = bytes(raw)
        if name in heads:
            found += _in_head(name, value)
        elif name != "model" and name not in _CLIENTS_OWN and (disguised or _may_name(value)):
            found += _in_field(name, value, disguised=disguised)
    if len(found) > _MAX_NAMES:
        raise InvalidRequest(
            f"The request names more than {_MAX_NAMES} models.", param=found[_MAX_NAMES].path
        )
    for model in found:
        if not (0 < len(model.name) <= _MAX_NAME_CHARS and model.name.isprintable()):
            raise InvalidRequest("This is not the name of a model.", param=model.path)
    return tuple(found)


@lru_cache(maxsize=4096)
def _is_head(name: str) -> bool:
    return name != "model" and _HEAD.fullmatch(name.casefold()) is not None


def _may_name(data: bytes, *, beside_its_own: bool = False) -> bool:
    """Few bodies have the word as a member more than once, but for schemas, where objects follow.

    To search for the word and look at what follows is faster than one expression for both.
    """
    left = 1 if beside_its_own else 0
    for word in _MEMBER_ENDS:
        at = data.find(word)
        while at >= 0:
            at += len(word)
            if _NAMES_FOLLOW.match(data, at):
                if not left:
                    return True
                left -= 1
            at = data.find(word, at)
    return _IMAGES_BYTES in data


def _in_field(name: str, value: bytes, *, disguised: bool) -> Iterator[NamedModel]:
    """Of a conversation, or of tools, only those are parsed that name something."""
    if value.startswith(b"{"):
        yield from _in_value(decoded(value, name), name)
        return
    if not value.startswith(b"["):
        return
    for place, part in enumerate(_parts.decode(value)):
        path = f"{name}[{place}]"
        holds_more = bytes(part).startswith((b"{", b"["))
        if holds_more and (disguised or _may_name(bytes(part))):
            yield from _in_value(decoded(bytes(part), path), path)


def _in_head(name: str, raw: bytes) -> list[NamedModel]:
    value = decoded(raw, name)
    folded = name.casefold()
    instead = folded in ("model", "models") or folded.endswith("fallbacks")
    if isinstance(value, str) and folded.endswith("fallbacks"):
        raise InvalidRequest(
            "Models that the provider chooses cannot be checked: list those to fall back on.",
            param=name,
        )
    found = list(_of_member(value, name, ()))
    if isinstance(value, list | tuple):
        found += _in_value(value, name, listed=folded.endswith("fallbacks"))
    if not found and isinstance(value, list | tuple) and value:
        raise InvalidRequest("No model's name can be read here.", param=name)
    return [msgspec.structs.replace(model, instead=instead) for model in found]


def _in_value(value: Any, path: str, *, listed: bool = False) -> Iterator[NamedModel]:
    """In what the value holds. `listed`: texts in lists are names, whatever holds the lists."""
    waiting = deque([(value, path)])
    while waiting:
        node, where = waiting.popleft()
        if isinstance(node, list):
            if listed and where != path:
                yield from _of_member(node, where, ())
            inner = [(part, f"{where}[{place}]") for place, part in enumerate(node)]
        else:
            yield from _of_members(node, where)
            inner = [(part, f"{where}.{member}") for member, part in node if member not in _NOT_RUN]
        waiting.extend(each for each in inner if isinstance(each[0], list | tuple))


def _of_members(node: Members, path: str) -> Iterator[NamedModel]:
    if _makes_images(node):
        yield NamedModel(path=f"{path}.model", name=DEFAULT_IMAGE_MODEL, uses=_ASSUMED_USES)
    for member, value in node:
        if _MEMBER.fullmatch(member):
            yield from _of_member(value, f"{path}.{member}", node)


def _of_member(value: Any, path: str, around: Members) -> Iterator[NamedModel]:
    """What a member of such a name says; `around` are all members beside it."""
    for name, at in _texts(value, path):
        uses, max_tokens = _count(around, "max_uses"), _count(around, "max_tokens")
        yield NamedModel(
            path=at,
            name=name,
            uses=_ASSUMED_USES if uses is None else uses,
            max_tokens=max_tokens,
            fast=any(member == "speed" and said == "fast" for member, said in around),
        )


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield value, path
    elif isinstance(value, list):
        for place, part in enumerate(value):
            if isinstance(part, str):
                yield part, f"{path}[{place}]"


def _makes_images(tool: Members) -> bool:
    kinds = [said for member, said in tool if member == "type"]
    names = [said for member, said in tool if member == "model"]
    return _IMAGES in kinds and not any(isinstance(name, str) for name in names)


def _count(around: Members, name: str) -> int | None:
    """The most that a member of that name says; numbers are decoded as floats."""
    said = [value for member, value in around if member == name and isinstance(value, float)]
    return int(max(0.0, min(max(said), 1e12))) if said else None
