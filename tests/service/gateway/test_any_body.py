"""Whatever a client sends: it is answered by its format, or refused, and never a server's error.

Relayed and translated alike; `make test-api` takes many more examples of each.
"""

import json
from collections.abc import AsyncIterator
from itertools import product
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from libs.common.schemas.usage import ClientFormat
from tests.service.gateway.api_bodies import bodies
from tests.service.gateway.routes import add_route, deployment
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books
from tests.unit.translation.golden import player
from tests.unit.translation.laws.accumulators import put_together
from tests.unit.translation.messages.answers import strict
from tests.unit.translation.responses.streams import judge_response

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Not these, but the threads of MongoDB's driver take random numbers while a body is drawn.
    pytest.mark.filterwarnings(
        "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
    ),
]

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "embeddings": "/v1/embeddings",
}
EMBEDDING_MODEL = "openai/text-embedding-3-small"
MODELS = {"openai": "openai/gpt-4o", "anthropic": "anthropic/claude-haiku-4-5"}
EMBEDDINGS = {
    "object": "list",
    "model": "m",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}
# The client's format, the one that its model's server speaks, and whose server that is.
TRANSLATED: tuple[ClientFormat, ...] = ("chat", "messages", "responses")
WAYS: list[tuple[ClientFormat, ClientFormat, str]] = [
    (client, target, "anthropic" if target == "messages" else "openai")
    for client, target in product(TRANSLATED, TRANSLATED)
] + [("embeddings", "embeddings", "openai")]


class Served(msgspec.Struct, frozen=True):
    """Two routes for each way, the second of which drops options, and the secret of a key."""

    secret: str
    routes: dict[tuple[str, str], tuple[str, str]]


def _answers() -> dict[str, tuple[bytes, list[bytes]]]:
    """What a server of each format says, whole and streamed."""
    answers = {"/embeddings": (json.dumps(EMBEDDINGS).encode(), list[bytes]())}
    for target, client in (("chat", "messages"), ("messages", "chat"), ("responses", "chat")):
        call = player.given(f"tools_{client}_to_{target}")
        assert call.answered is not None
        assert call.streamed is not None
        frames = [player.provider_bytes(call.format, [each]) for each in call.streamed]
        path = PATHS[target].removeprefix("/v1")
        answers[path] = (player.compact(call.answered.body), frames)
    return answers


ANSWERS = _answers()


async def _answer(request: UpstreamRequest, connection: UpstreamConnection) -> None:
    whole, frames = next(answer for path, answer in ANSWERS.items() if request.path.endswith(path))
    if request.fields.get("stream") is True:
        await connection.stream(frames)
    else:
        await connection.answer(whole)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(upstream: Upstream, books: Books) -> AsyncIterator[Served]:
    await books.set_price(EMBEDDING_MODEL, input_usd="20", output_usd="0")
    routes: dict[tuple[str, str], tuple[str, str]] = {}
    for client, target, provider in WAYS:
        model = EMBEDDING_MODEL if target == "embeddings" else MODELS[provider]
        strict = deployment(upstream, f"{client}-{target}", model, formats=(target,))
        dropping = msgspec.structs.replace(
            strict, deployment_id=f"{strict.deployment_id}-drops", drop_params=True
        )
        routes[client, target] = (await add_route(books, strict), await add_route(books, dropping))
    upstream.does(_answer)
    yield Served(await books.add_key(), routes)


def check_error(client: str, body: Any) -> None:
    assert isinstance(body["error"]["message"], str)
    assert isinstance(body["error"]["type"], str)
    assert (body.get("type") == "error") is (client == "messages")


def check_answer(client: ClientFormat, content: bytes, *, is_stream: bool) -> None:
    """By the SDK's types, strictly."""
    if is_stream:
        put_together(client, content)
    elif client == "messages":
        strict(content)
    elif client == "chat":
        ChatCompletion.model_validate_json(content, strict=True)
    else:
        judge_response(json.loads(content))


@pytest.mark.parametrize(("client", "target", "provider"), WAYS, ids=str)
@given(data=st.data())
async def test_any_body_is_answered_or_refused(
    gateway: Client,
    served: Served,
    client: ClientFormat,
    target: str,
    provider: str,
    data: st.DataObject,
) -> None:
    route = data.draw(st.sampled_from(served.routes[client, target]))
    body = data.draw(bodies(client, route))

    response = await gateway.post(PATHS[client], served.secret, body)

    assert response.status_code < 500, response.text
    if response.status_code != 200:
        check_error(client, response.json())
    elif client != target:
        check_answer(client, response.content, is_stream=body["stream"])
