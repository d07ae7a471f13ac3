"""Request bodies: what is read of them, what is refused and how, and what goes upstream."""

import json
from typing import Any

import msgspec
import pytest

from libs.common.errors import InvalidJSON, InvalidRequest
from libs.common.schemas.usage import ClientFormat
from services.gateway.formats import CHAT, FORMATS, MESSAGES, RESPONSES
from services.gateway.formats.base import Format

every_format = pytest.mark.parametrize("client_format", FORMATS.values(), ids=FORMATS)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


@every_format
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"not json",
        b'{"model": "m",}',
        b'{"model": "m"} {}',
        b'{"model": "\xff"}',
        b'{"model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=range(7),
)
def test_invalid_json_is_rejected(client_format: Format, raw: bytes) -> None:
    with pytest.raises(InvalidJSON, match="not valid JSON") as refused:
        client_format.decode(raw)

    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("format_name", "fields", "param"),
    [
        *(
            (format_name, {"model": model}, "model")
            for format_name in FORMATS
            for model in (None, 5, "", "m" * 257)
        ),
        # Embeddings have neither.
        *(
            (format_name, fields, param)
            for format_name in ("chat", "messages", "responses")
            for fields, param in (
                ({"stream": "yes"}, "stream"),
                ({"service_tier": 1}, "service_tier"),
            )
        ),
    ],
    ids=repr,
)
def test_a_field_that_is_wrong_is_named(
    format_name: ClientFormat, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"'{param}'") as refused:
        FORMATS[format_name].decode(body(**fields))

    assert (refused.value.param, refused.value.code) == (param, "invalid_request")


@pytest.mark.parametrize(
    ("client_format", "fields", "param"),
    [
        (CHAT, {"max_tokens": "many"}, "max_tokens"),
        (CHAT, {"max_completion_tokens": 1.5}, "max_completion_tokens"),
        (CHAT, {"n": "2"}, "n"),
        (CHAT, {"stream_options": []}, "stream_options"),
        (CHAT, {"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        (CHAT, {"user": {}}, "user"),
        (MESSAGES, {"max_tokens": "many"}, "max_tokens"),
        (MESSAGES, {"metadata": {"user_id": 7}}, "metadata.user_id"),
        (RESPONSES, {"max_output_tokens": []}, "max_output_tokens"),
        # It is polled for, past the gateway, which would never learn what it used.
        (RESPONSES, {"background": True}, "background"),
    ],
    ids=lambda value: getattr(value, "name", repr(value)),
)
def test_a_field_of_one_format_is_named(
    client_format: Format, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"'{param}'") as refused:
        client_format.decode(body(**fields))

    assert refused.value.param == param


@every_format
def test_a_body_without_a_model_is_rejected(client_format: Format) -> None:
    with pytest.raises(InvalidRequest, match="has no 'model'") as refused:
        client_format.decode(b"{}")

    assert refused.value.param == "model"


@every_format
@pytest.mark.parametrize("raw", [b"[]", b'"model"', b"null", b"3"])
def test_a_body_that_is_not_an_object_is_rejected(client_format: Format, raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="object"):
        client_format.decode(raw)


def test_chat_fields_are_decoded() -> None:
    request = CHAT.decode(body(max_tokens=5, n=2, service_tier="flex", user="u"))

    assert (request.model, request.stream, request.wants_usage) == ("m", False, False)
    assert (request.max_output_tokens, request.answers) == (5, 2)
    assert (request.service_tier, request.client_user) == ("flex", "u")


@pytest.mark.parametrize("limits", [(5, 2), (2, 5), (5, 0), (None, 5), (5, None)])
def test_the_higher_of_two_chat_limits_counts(limits: tuple[int | None, int | None]) -> None:
    """A provider that does not know the newer name goes by the older one."""
    older, newer = limits
    request = CHAT.decode(body(max_tokens=older, max_completion_tokens=newer))
    assert request.max_output_tokens == 5


def test_nulls_are_absent_fields() -> None:
    nulls = dict.fromkeys(["stream", "stream_options", "max_tokens", "n", "service_tier", "user"])

    request = CHAT.decode(body(**nulls))

    assert (request.stream, request.max_output_tokens, request.answers) == (False, None, 1)


def test_messages_fields_are_decoded() -> None:
    request = MESSAGES.decode(body(max_tokens=9, stream=True, metadata={"user_id": "u", "x": 1}))

    assert (request.stream, request.max_output_tokens, request.client_user) == (True, 9, "u")


def test_responses_fields_are_decoded() -> None:
    request = RESPONSES.decode(body(max_output_tokens=9, user="u", background=False))

    assert (request.max_output_tokens, request.client_user, request.stream) == (9, "u", False)


@every_format
def test_only_the_model_is_rewritten(client_format: Format) -> None:
    """Numbers, escapes and order as the client wrote them: a float would lose digits."""
    raw = (
        b'{"seed": 12345678901234567890123, "model":"openai/m", "x": 1.0e+2,'
        b'"text": "\\u00e9\\/", "nested": {"b" : [ 1 ],"a":null}, "stream":false}'
    )

    sent = msgspec.json.encode(client_format.upstream_fields(client_format.decode(raw), "m"))

    assert sent == (
        b'{"seed":12345678901234567890123,"model":"m","x":1.0e+2,'
        b'"text":"\\u00e9\\/","nested":{"b" : [ 1 ],"a":null},"stream":false}'
    )


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False, "x": 1}}, {"include_usage": True, "x": 1}),
        ({"stream_options": {"include_usage": True, "x": 1}}, {"include_usage": True, "x": 1}),
    ],
    ids=range(4),
)
def test_a_chat_stream_is_asked_for_its_usage(options: dict[str, Any], sent: Any) -> None:
    request = CHAT.decode(body(stream=True, **options))

    fields = json.loads(msgspec.json.encode(CHAT.upstream_fields(request, "m")))

    assert fields == {"model": "m", "stream": True, "stream_options": sent}


def test_an_unstreamed_chat_is_not_asked_for_its_usage() -> None:
    assert "stream_options" not in CHAT.upstream_fields(CHAT.decode(body()), "m")


@every_format
@pytest.mark.parametrize(
    "members",
    [
        b",".join(b'"k%d":1' % n for n in range(1_000)),
        b'"x":[' + b",".join([b'{"a":1}'] * 1_000_001) + b"]",
    ],
    ids=["of its own", "altogether"],
)
def test_too_many_members_are_rejected(client_format: Format, members: bytes) -> None:
    with pytest.raises(InvalidRequest, match="too many members"):
        client_format.decode(b'{"model":"m",' + members + b"}")


@every_format
def test_a_long_body_is_read_as_a_short_one(client_format: Format) -> None:
    body = {"model": "m", "stream": True, "user": "u", "metadata": {"user_id": "u"}, "input": ["i"]}
    limits = {"max_tokens": 5, "max_output_tokens": 5}
    short = client_format.decode(msgspec.json.encode(body | limits))
    long = client_format.decode(msgspec.json.encode(body | limits | {"text": "x" * 20_000}))
    fields = {name: raw for name, raw in long.fields.items() if name != "text"}
    assert msgspec.structs.replace(long, fields=fields) == short


@every_format
def test_a_long_body_s_wrong_field_is_named(client_format: Format) -> None:
    body = {"model": 5, "text": "x" * 20_000}
    with pytest.raises(InvalidRequest) as refused:
        client_format.decode(msgspec.json.encode(body))
    assert refused.value.param == "model"
