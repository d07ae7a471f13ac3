"""Every field of the newest SDKs' requests that looks like an object's name is in the table."""

import json
import re
import typing
from typing import Any, Literal

import msgspec
import pytest
from typing_extensions import TypedDict, is_typeddict

from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.object_fields import ANY, OBJECT_FIELDS, OPAQUE, ObjectRule
from services.gateway.formats.objects import is_disguised, named_objects
from tests.unit.gateway.object_labels import LABELS
from tests.unit.gateway.sdk_types import REQUESTS, Field, body_with, fields_of, parts_of

_each_request = pytest.mark.parametrize(
    ("client_format", "request_type"), REQUESTS, ids=lambda value: getattr(value, "__name__", value)
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


def rule_of(client_format: ClientFormat, field: Field) -> ObjectRule | None:
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
def test_every_object_field_is_classified(client_format: ClientFormat, request_type: Any) -> None:
    """A new one belongs in `object_fields` if calls or the operator make it, else in the labels."""
    assert unclassified(client_format, request_type) == set()


def test_a_new_object_field_is_found() -> None:
    class Inner(TypedDict, total=False):
        memory_store_id: str
        kind: Literal["a", "b"]

    class Request(TypedDict, total=False):
        thing: list[Inner | str]
        snapshot: str | None
        temperature: float

    assert unclassified("messages", Request) == {"thing[].memory_store_id", "snapshot"}


@_each_request
def test_classified_fields_are_found_in_a_body(
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
        for raw in (body, disguised):
            fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            (found,) = named_objects(client_format, raw, fields, disguised=is_disguised(raw))
            assert (found.id, found.rule) == ("the_id", rule), str(field)
        checked += 1
    assert checked > 0 or client_format == "embeddings"
