"""Paths of what is wrong in a client's body, in words that the client knows."""

import msgspec
import pytest

from libs.common.errors import InvalidRequest, UnsupportedField
from services.gateway.upstream.translation.refusals import decode_at


class _Block(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    text: str
    size: int | None = None


class _Image(msgspec.Struct, tag="image", tag_field="type", forbid_unknown_fields=True):
    url: str


class _Turn(msgspec.Struct):
    role: str
    content: str | list[_Block | _Image]


_turns = msgspec.json.Decoder(list[_Turn])


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        ("5", "messages[0].content", "expected a string or a list, not an integer"),
        ('["hi"]', "messages[0].content[0]", "expected an object, not a string"),
        ("[{}]", "messages[0].content[0].type", "this field is missing"),
        ('[{"type":"text"}]', "messages[0].content[0].text", "this field is missing"),
        (
            '[{"type":"text","text":"a","size":"b"}]',
            "messages[0].content[0].size",
            "expected an integer or null, not a string",
        ),
        ('[{"type":"x"}]', "messages[0].content[0].type", "'x' is not a known value"),
        (r'"\ud83d"', "messages", "not readable as JSON, or text that is not Unicode"),
    ],
)
def test_names_the_path(content: str, path: str, message: str) -> None:
    body = f'[{{"role":"user","content":{content}}}]'.encode()

    with pytest.raises(InvalidRequest) as refused:
        decode_at(_turns, msgspec.Raw(body), "messages")

    assert refused.value.param == path
    assert refused.value.message.startswith(f"{path}: ")
    assert message in refused.value.message


def test_an_unknown_member_is_unsupported() -> None:
    body = b'[{"role":"user","content":[{"type":"text","text":"a","colour":"red"}]}]'

    with pytest.raises(UnsupportedField) as refused:
        decode_at(_turns, body, "messages")

    assert refused.value.param == "messages[0].content[0].colour"
