"""What clients should not send, and what becomes of it: an answer, and one entry or none."""

import asyncio
import json
from typing import Any

import pytest

from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, MESSAGES, RESPONSES, TOKENS, Dialect
from tests.service.gateway.faults import check_event
from tests.service.gateway.stage import Client, open_gateway
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books
from tests.support.polling import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

# To each format, a model whose provider speaks another one.
FOREIGN = [(CHAT, MESSAGES.model), (MESSAGES, CHAT.model), (RESPONSES, MESSAGES.model)]


async def test_an_unknown_tool_choice_is_left_to_the_provider(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    content = json.dumps({"error": {"message": "no such tool_choice"}}).encode()
    upstream.answers(content, status=400)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(tool_choice="sideways"))

    assert (response.status_code, response.content) == (400, content)
    assert upstream.requests[0].fields["tool_choice"] == "sideways"
    await check_event(books, secret, 400, "upstream_refused")


@pytest.mark.parametrize("choice", ["sideways", {"type": "sideways"}, 5, ["auto"]])
@pytest.mark.parametrize(("dialect", "model"), FOREIGN, ids=[row[0].name for row in FOREIGN])
async def test_an_unknown_tool_choice_is_not_translated(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, model: str, choice: Any
) -> None:
    upstream.answers(b"{}")
    secret = await books.add_key()
    tool: dict[str, Any] = {"name": "f", "input_schema": {"type": "object"}}
    if dialect.name != "messages":
        function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
        nested = {"type": "function", "function": function}
        tool = nested if dialect.name == "chat" else {"type": "function", **function}

    response = await gateway.post(
        dialect.path, secret, dialect.body(model=model, tools=[tool], tool_choice=choice)
    )

    error = response.json()["error"]
    assert response.status_code == 400
    assert "tool_choice" in error["message"]
    assert upstream.requests == []
    event = await books.the_event(secret)
    assert (event.status, event.attempts) == ("refused", 0)


@pytest.mark.parametrize(("dialect", "model"), FOREIGN, ids=[row[0].name for row in FOREIGN])
async def test_a_huge_number_is_not_translated(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, model: str
) -> None:
    upstream.answers(b"{}")
    secret = await books.add_key()
    body = json.dumps(dialect.body(model=model, temperature=0.5)).replace("0.5", "1e999")

    response = await gateway.post(dialect.path, secret, body.encode())

    error = dialect.check_error(response, 400, "invalid_request")
    assert error.get("param") in ("temperature", None)
    assert upstream.requests == []
    event = await books.the_event(secret)
    assert (event.status, event.attempts) == ("refused", 0)


async def test_a_prompt_of_ten_megabytes_is_served(
    books: Books, upstream: Upstream, dialect: Dialect, settings_with: SettingsWith
) -> None:
    """It is below the usual limit, so it passes whole, and its hold is as large as it is."""
    upstream.answers(dialect.answer)
    secret = await books.add_key()
    prompt = "0123456789" * 1_000_000

    async with open_gateway(settings_with()) as gateway:
        response = await gateway.post(dialect.path, secret, dialect.body(prompt))

    assert response.content == dialect.answer
    assert prompt.encode() in upstream.requests[0].body
    event = await books.the_event(secret)
    assert (event.status, event.usage) == ("ok", TOKENS)
    assert event.held_nusd > len(prompt) // 3 * 1_000


async def chunks(size: int) -> Any:
    for _ in range(size // 1_000):
        yield b"x" * 1_000


async def test_a_too_large_body_without_a_length_is_rejected(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    """Without a content-length, it is read no further than the limit."""
    upstream.answers(dialect.answer)
    secret = await books.add_key()
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}

    response = await gateway.http.post(dialect.path, content=chunks(200_000), headers=headers)

    dialect.check_error(response, 413, "request_too_large")
    assert upstream.requests == []
    event = await books.the_event(secret)
    assert (event.status, event.http_status, event.held_nusd) == ("refused", 413, 0)


async def raw_post(
    gateway: Client, dialect: Dialect, headers: list[str], body: bytes
) -> tuple[int, bytes]:
    """The status and body of what these very headers are answered."""
    url = gateway.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = [f"POST {dialect.path} HTTP/1.1", f"host: {url.host}", "connection: close", *headers]
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    status_line, _, rest = answer.partition(b"\r\n")
    return int(status_line.split()[1]), rest.partition(b"\r\n\r\n")[2]


def body_and_headers(dialect: Dialect) -> tuple[bytes, list[str]]:
    body = json.dumps(dialect.body()).encode()
    return body, [f"content-length: {len(body)}", "content-type: application/json"]


async def test_a_repeated_identical_header_is_accepted(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    upstream.answers(dialect.answer)
    secret = await books.add_key()
    body, headers = body_and_headers(dialect)
    twice = [headers[1], f"authorization: Bearer {secret}"] * 2

    status, content = await raw_post(gateway, dialect, [headers[0], *twice], body)

    assert (status, content) == (200, dialect.answer)
    names = [name for name, _ in upstream.requests[0].headers]
    assert len(names) == len(set(names))
    assert (await books.the_event(secret)).status == "ok"


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "api-key"])
async def test_two_keys_in_one_header_are_rejected(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, name: str
) -> None:
    """Whatever stands in front of the gateway may have read the other one."""
    upstream.answers(dialect.answer)
    secrets = [await books.add_key(), await books.add_key()]
    body, headers = body_and_headers(dialect)
    scheme = "Bearer " if name == "authorization" else ""
    headers += [f"{name}: {scheme}{secret}" for secret in secrets]

    status, content = await raw_post(gateway, dialect, headers, body)

    fields = json.loads(content)
    request_id = fields.get("request_id", "")
    error = dialect.check_error_body(fields, request_id, 401, "invalid_api_key")
    assert status == 401
    assert name in error["message"]
    assert secrets[0] not in error["message"]
    assert upstream.requests == []
    assert [await books.events(secret) for secret in secrets] == [[], []]


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
async def test_two_content_types_must_both_be_right(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, first: bool
) -> None:
    upstream.answers(dialect.answer)
    secret = await books.add_key()
    body, headers = body_and_headers(dialect)
    headers.insert(1 if first else 2, "content-type: text/plain")

    status, content = await raw_post(
        gateway, dialect, [*headers, f"authorization: Bearer {secret}"], body
    )

    fields = json.loads(content)
    request_id = fields.get("request_id", "")
    dialect.check_error_body(fields, request_id, 415, "unsupported_media_type")
    assert status == 415
    event = await books.the_event(secret)
    assert (event.status, event.http_status) == ("refused", 415)


@pytest.mark.parametrize("other", [0, 1], ids=["same", "different"])
async def test_two_content_lengths_are_rejected(
    gateway: Client, upstream: Upstream, books: Books, other: int
) -> None:
    """Where one ends and the next begins is then a matter of opinion: nobody is even asked."""
    upstream.answers(CHAT.answer)
    secret = await books.add_key()
    body, headers = body_and_headers(CHAT)
    headers += [f"content-length: {len(body) + other}", f"authorization: Bearer {secret}"]

    status, _ = await raw_post(gateway, CHAT, headers, body)

    assert status == 400
    assert upstream.requests == []
    assert await books.events(secret) == []
