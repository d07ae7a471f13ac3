"""Request bodies are read whole and bounded."""

import pytest
from starlette.types import Message, Receive

from libs.common.errors import BodyTooLarge, UnsupportedMediaType
from services.gateway.body import ClientDisconnected, read_body


def arriving(*parts: bytes, disconnect: bool = False) -> Receive:
    """The messages of a request, one for each part; reading on after them is a failure."""
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) or disconnect}
        for number, part in enumerate(parts, 1)
    ]
    if disconnect:
        messages.append({"type": "http.disconnect"})

    async def receive() -> Message:
        return messages.pop(0)

    return receive


@pytest.mark.parametrize("parts", [[b"abc"], [b"a", b"bc"], [b"", b"abc", b""]])
async def test_parts_are_joined(parts: list[bytes]) -> None:
    assert await read_body(arriving(*parts), [], 3) == b"abc"


async def test_a_body_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert await read_body(arriving(b"12", b"34"), [], 4) == b"1234"
    with pytest.raises(BodyTooLarge, match="limit of 4 bytes"):
        await read_body(arriving(b"12", b"345"), [], 4)


async def test_it_stops_reading_at_the_limit() -> None:
    receive = arriving(b"12345", b"never read")

    with pytest.raises(BodyTooLarge):
        await read_body(receive, [], 4)
    assert (await receive())["body"] == b"never read"


async def test_a_length_that_is_announced_is_refused_unread() -> None:
    with pytest.raises(BodyTooLarge):
        await read_body(arriving(), [(b"content-length", b"5")], 4)


async def test_a_client_that_leaves() -> None:
    with pytest.raises(ClientDisconnected):
        await read_body(arriving(b"12", disconnect=True), [], 4)


@pytest.mark.parametrize(
    "content_type",
    [b"application/json", b"Application/JSON; charset=utf-8", b"application/problem+json"],
)
async def test_json_by_any_of_its_names(content_type: bytes) -> None:
    assert await read_body(arriving(b"{}"), [(b"content-type", content_type)], 4) == b"{}"


@pytest.mark.parametrize("content_type", [b"text/plain", b"", b"multipart/form-data; boundary=x"])
async def test_other_media_types_are_refused_unread(content_type: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="application/json"):
        await read_body(arriving(), [(b"content-type", content_type)], 4)
