"""Finds the models that a request names beside its own: a call may run them, too.

They stand in `models` and `fallbacks`, and in whatever is called `model`, `models` or ends so: in
tools (advisors, makers of images), moderation, or what the next release of an SDK brings. The names
go to the provider as they are, which knows no routes. What is not looked into is the client's own
data, such as schemas and arguments, and the records of who answered before.

A test walks the request types of the newest SDKs, and fails on a name that is in neither table.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from libs.common.domain.hosted_tools import DEFAULT_IMAGE_MODEL
from libs.common.errors import InvalidRequest
from services.gateway.formats.object_fields import OPAQUE, Members
from services.gateway.formats.objects import decoded_pairs, list_elements
from services.gateway.formats.plain_members import PLAIN_MEMBERS

# Some servers read the names of a body's members in capitals as well.
_HEAD = re.compile(r"(?:.*_)?(?:models?|fallbacks)", re.IGNORECASE | re.DOTALL)
_HEAD_ENDS = ("model", "models", "fallbacks")
_LAST_LETTERS = frozenset("lLsS\u017f")
_MEMBER = re.compile(r"(?:.*_)?models?", re.DOTALL)
_MEMBER_ENDS = (b'model"', b'models"')
_WORD = b"model"
_NAMES_FOLLOW = re.compile(rb'\s*:\s*["\[]')
_IMAGES = "image_generation"
# Of the body itself `input` is what Responses calls the conversation.
_CLIENTS_OWN = OPAQUE - {"input"}
# Records of earlier answers.
RECORDS = frozenset({"from", "to", "usage", "svg_usage"})
_NOT_RUN = OPAQUE | RECORDS | {"variables"}
_MAX_NAMES, _MAX_NAME_CHARS = 64, 256
# Bounds of one request's search: occurrences of the word; parsed members and elements.
_MAX_LOOKS, _MAX_NODES = 10_000, 200_000
# In a text about models, where the ends are looked for instead.
_MAX_WORDS = 100
# How often a tool without `max_uses` is held for.
_ASSUMED_USES = 3


class NamedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the call may run: in the place of its own or, up to `uses` times, beside it.

    `max_tokens` and `fast` are its own settings, where these differ from the call's.
    """

    path: str
    name: str
    instead: bool = False
    uses: int = 1
    max_tokens: int | None = None
    fast: bool = False


def named_models(
    body: bytes,
    fields: Mapping[str, msgspec.Raw],
    *,
    disguised: bool,
    makes_images: bool = False,
) -> tuple[NamedModel, ...]:
    """`fields` are those of the body. Raises InvalidRequest for what cannot be told.

    `makes_images`: the format has a tool for images that runs a model, even where it names none.
    """
    heads = (
        []
        if fields.keys() <= PLAIN_MEMBERS
        # The last letter tells nearly all others apart, sooner than the whole name does.
        else [
            name
            for name in fields
            if name[-1:] in _LAST_LETTERS and name != "model" and _is_head(name)
        ]
    )
    images = makes_images and (disguised or _IMAGES.encode() in body)
    if not (heads or disguised or images or _may_name_more(body)):
        return ()
    search = _ModelSearch(everywhere=disguised, images=images)
    for name, raw in fields.items():
        if name in heads:
            search.head(name, bytes(raw))
        elif name != "model" and name not in _CLIENTS_OWN:
            search.field(name, bytes(raw))
    return tuple(search.found)


def _is_head(name: str) -> bool:
    folded = name.casefold()
    return folded.endswith(_HEAD_ENDS) and _HEAD.fullmatch(folded) is not None


def _may_name_more(body: bytes) -> bool:
    """Whether the body may name models beside its own `model`."""
    at, members = -1, 0
    for _ in range(_MAX_WORDS):
        at = body.find(_WORD, at + 1)
        if at < 0:
            return False
        # One search finds both ends of the names, and `_MEMBER_ENDS` sooner than two.
        members += body.startswith(_MEMBER_ENDS, at)
        if members > 1:
            break
    return _may_name(body, 1)


def _may_name(data: bytes, besides: int = 0) -> bool:
    """Few bodies have the word as a member more than once, but for schemas, where objects follow.

    To search for the word and look at what follows is faster than one expression for both, unless
    somebody has filled the body with the word.
    """
    for word in _MEMBER_ENDS:
        at = -1
        for _ in range(_MAX_LOOKS):
            at = data.find(word, at + 1)
            if at < 0:
                break
            if _NAMES_FOLLOW.match(data, at + len(word)):
                if not besides:
                    return True
                besides -= 1
        else:
            return True
    return False


class _ModelSearch:
    """Through one body; what it has `found`, and how much it has looked at."""

    def __init__(self, *, everywhere: bool, images: bool) -> None:
        self.found: list[NamedModel] = []
        self._everywhere = everywhere
        self._images = images
        self._nodes = 0

    def field(self, name: str, value: bytes) -> None:
        """Of a conversation, or of tools, only those are parsed that name something."""
        if not self._may_hold(value):
            return
        parts = [(name, value)] if value.startswith(b"{") else list_elements(value, name)
        for path, part in parts:
            if self._may_hold(part):
                self._look_into(decoded_pairs(part, path), path)

    def _may_hold(self, value: bytes) -> bool:
        return value.startswith((b"{", b"[")) and (
            self._everywhere or _may_name(value) or (self._images and _IMAGES.encode() in value)
        )

    def head(self, name: str, raw: bytes) -> None:
        value, before = decoded_pairs(raw, name), len(self.found)
        folded = name.casefold()
        are_fallbacks = folded.endswith("fallbacks")
        if isinstance(value, str) and are_fallbacks:
            raise InvalidRequest(
                f"'{name}' must list its models: the gateway cannot check those that the provider "
                "chooses.",
                param=name,
            )
        self._take(_models_of_member(value, name, ()))
        if isinstance(value, list | tuple):
            self._look_into(value, name, names_in_lists=are_fallbacks)
            if value and len(self.found) == before:
                raise InvalidRequest(
                    f"'{name}' names no model that the gateway can read.", param=name
                )
        if are_fallbacks or folded in ("model", "models"):
            self.found[before:] = [
                msgspec.structs.replace(model, instead=True) for model in self.found[before:]
            ]

    def _look_into(self, value: Any, path: str, *, names_in_lists: bool = False) -> None:
        """`names_in_lists`: texts in lists are names, whatever holds the lists."""
        waiting = deque([(value, path)])
        while waiting:
            node, where = waiting.popleft()
            self._nodes += 1 + len(node)
            if self._nodes > _MAX_NODES:
                raise InvalidRequest("This part of the request has too many members.", param=path)
            if isinstance(node, list):
                if names_in_lists and where != path:
                    self._take(_models_of_member(node, where, ()))
                inner = [(part, f"{where}[{place}]") for place, part in enumerate(node)]
            else:
                self._take(_models_of_members(node, where))
                if self._images and _makes_images(node):
                    self._take([_default_image_model(where)])
                inner = [
                    (part, f"{where}.{member}") for member, part in node if member not in _NOT_RUN
                ]
            waiting.extend(each for each in inner if isinstance(each[0], list | tuple))

    def _take(self, models: Iterable[NamedModel]) -> None:
        for model in models:
            if len(self.found) == _MAX_NAMES:
                raise InvalidRequest(
                    f"The request names more than {_MAX_NAMES} models.", param=model.path
                )
            if not (0 < len(model.name) <= _MAX_NAME_CHARS and model.name.isprintable()):
                raise InvalidRequest("This is not the name of a model.", param=model.path)
            self.found.append(model)


def _models_of_members(node: Members, path: str) -> Iterator[NamedModel]:
    for member, value in node:
        if _MEMBER.fullmatch(member):
            yield from _models_of_member(value, f"{path}.{member}", node)


def _default_image_model(path: str) -> NamedModel:
    return NamedModel(path=f"{path}.model", name=DEFAULT_IMAGE_MODEL, uses=_ASSUMED_USES)


def _models_of_member(value: Any, path: str, siblings: Members) -> Iterator[NamedModel]:
    """The model that such a member names; `siblings` are all members beside it."""
    for name, at in _texts(value, path):
        uses, max_tokens = _count(siblings, "max_uses"), _count(siblings, "max_tokens")
        yield NamedModel(
            path=at,
            name=name,
            uses=_ASSUMED_USES if uses is None else uses,
            max_tokens=max_tokens,
            fast=any(member == "speed" and text == "fast" for member, text in siblings),
        )


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield value, path
    elif isinstance(value, list):
        for place, part in enumerate(value):
            if isinstance(part, str):
                yield part, f"{path}[{place}]"


def _makes_images(tool: Members) -> bool:
    kinds = [text for member, text in tool if member == "type"]
    names = [text for member, text in tool if member == "model"]
    return _IMAGES in kinds and not any(isinstance(name, str) for name in names)


def _count(siblings: Members, name: str) -> int | None:
    """The most that a member of that name says; numbers are decoded as floats."""
    counts = [value for member, value in siblings if member == name and isinstance(value, float)]
    return int(max(0.0, min(max(counts), 1e12))) if counts else None
