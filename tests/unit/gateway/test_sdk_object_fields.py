"""Every field of the newest SDKs' requests that looks like an object's name is in the table."""

import collections.abc
import json
import re
import typing
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import anthropic.types.beta.message_count_tokens_params as beta_count
import anthropic.types.beta.message_create_params as beta_messages
import anthropic.types.message_count_tokens_params as count
import anthropic.types.message_create_params as messages
import msgspec
import openai.types.beta.response_create_params as beta_responses
import openai.types.chat.completion_create_params as chat
import openai.types.embedding_create_params as embeddings
import openai.types.responses.input_token_count_params as input_tokens
import openai.types.responses.response_create_params as responses
import pytest
from typing_extensions import TypedDict, get_type_hints, is_typeddict

from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.object_fields import ANY, LABELS, OBJECT_FIELDS, OPAQUE, Rule
from services.gateway.formats.objects import named_objects

REQUESTS: tuple[tuple[ClientFormat, type], ...] = (
    ("chat", chat.CompletionCreateParamsStreaming),
    ("messages", messages.MessageCreateParamsStreaming),
    ("messages", count.MessageCountTokensParams),
    ("messages", beta_messages.MessageCreateParamsStreaming),
    ("messages", beta_count.MessageCountTokensParams),
    ("responses", responses.ResponseCreateParamsStreaming),
    ("responses", input_tokens.InputTokenCountParams),
    ("responses", beta_responses.ResponseCreateParamsStreaming),
    ("embeddings", embeddings.EmbeddingCreateParams),
)
_each_request = pytest.mark.parametrize(
    ("client_format", "request_type"), REQUESTS, ids=lambda given: getattr(given, "__name__", given)
)
# An id by its name, whatever its type.
_ID = re.compile(r"(^|_)ids?$")
# A text that may be one.
_LIKE_AN_ID = re.compile(
    r"(^|_)(name|names|key|token|ref|refs|reference|handle|identifier|label|uuid|arn)$"
    r"|container|thread|prompt|conversation|skill|connector|file|vector|store|previous|session"
    r"|voice|batch|project|profile|workspace|tunnel|assistant|dataset|memory|snapshot|checkpoint"
    r"|artifact|bucket|credential|vault|deployment|fine_tun"
)
_LISTS = (list, tuple, collections.abc.Iterable, collections.abc.Sequence)


class Field(NamedTuple):
    """`path` is of members; one that is a list ends in `[]`."""

    path: tuple[str, ...]
    annotation: Any

    @property
    def holder(self) -> str:
        return self.path[-2].removesuffix("[]") if len(self.path) > 1 else ""

    @property
    def name(self) -> str:
        return self.path[-1].removesuffix("[]")

    def __str__(self) -> str:
        return ".".join(self.path)


def fields_of(
    annotation: Any, path: tuple[str, ...] = (), seen: frozenset[Any] = frozenset()
) -> Iterator[Field]:
    """All fields below, in whatever union, list or alias."""
    if is_typeddict(annotation):
        if annotation in seen:
            return
        for name, inner in get_type_hints(annotation).items():
            here = (*path, name)
            yield Field(here, inner)
            yield from fields_of(inner, here, seen | {annotation})
        return
    if typing.get_origin(annotation) is Literal:
        return
    for inner in parts_of(annotation):
        is_list = path and not path[-1].endswith("[]") and _is_list(annotation)
        yield from fields_of(inner, (*path[:-1], f"{path[-1]}[]") if is_list else path, seen)


def parts_of(annotation: Any) -> list[Any]:
    return [part for part in typing.get_args(annotation) if part is not Ellipsis]


def _is_list(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    return origin in _LISTS or getattr(origin, "__name__", "") == "SequenceNotStr"


def may_be_text(annotation: Any) -> bool:
    """A text of the client's choice, or several."""
    if annotation in (str, object, Any):
        return True
    if typing.get_origin(annotation) is Literal or is_typeddict(annotation):
        return False
    return any(map(may_be_text, parts_of(annotation)))


def looks_like_an_object(field: Field) -> bool:
    if _ID.search(field.name):
        return True
    return _LIKE_AN_ID.search(field.name) is not None and may_be_text(field.annotation)


def is_opaque(field: Field) -> bool:
    return any(name.removesuffix("[]") in OPAQUE for name in field.path[1:-1])


def rule_of(client_format: ClientFormat, field: Field) -> Rule | None:
    rules = OBJECT_FIELDS[client_format].rules
    return rules.get((field.holder, field.name)) or rules.get((ANY, field.name))


def is_label(client_format: ClientFormat, field: Field) -> bool:
    labels = LABELS[client_format]
    return (field.holder, field.name) in labels or (ANY, field.name) in labels


def unclassified(client_format: ClientFormat, request_type: Any) -> set[str]:
    return {
        str(field)
        for field in fields_of(request_type)
        if looks_like_an_object(field)
        and not is_opaque(field)
        and rule_of(client_format, field) is None
        and not is_label(client_format, field)
    }


@_each_request
def test_every_such_field_is_classified(client_format: ClientFormat, request_type: Any) -> None:
    """A new one belongs in `object_fields`: made by a call, the operator's own, or a label."""
    assert unclassified(client_format, request_type) == set()


def test_a_new_field_is_found() -> None:
    class Inner(TypedDict, total=False):
        memory_store_id: str
        kind: Literal["a", "b"]

    class Request(TypedDict, total=False):
        thing: list[Inner | str]
        snapshot: str | None
        temperature: float

    assert unclassified("messages", Request) == {"thing[].memory_store_id", "snapshot"}


@_each_request
def test_what_is_classified_is_found_in_a_body(
    client_format: ClientFormat, request_type: Any
) -> None:
    """Wherever the types have such a field, and spelt with escapes as well."""
    checked = 0
    for field in fields_of(request_type):
        rule = rule_of(client_format, field)
        if rule is None or is_opaque(field) or not may_be_text(field.annotation):
            continue
        body = json.dumps(body_with(field)).encode()
        letter = field.name[0]
        disguised = body.replace(
            f'"{field.name}"'.encode(), f'"\\u{ord(letter):04x}{field.name[1:]}"'.encode()
        )
        for spelt in (body, disguised):
            fields = msgspec.json.decode(spelt, type=dict[str, msgspec.Raw])
            (found,) = named_objects(client_format, spelt, fields)
            assert (found.id, found.rule) == ("the_id", rule), str(field)
        checked += 1
    assert checked > 0 or client_format == "embeddings"


def body_with(field: Field) -> Any:
    """The least body that has the field."""
    value: Any = ["the_id"] if field.path[-1].endswith("s") else "the_id"
    for name in reversed(field.path):
        value = {name.removesuffix("[]"): [value] if name.endswith("[]") else value}
    return value
