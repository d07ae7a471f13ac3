"""Providers that do not speak the client's format: the call goes through the translator."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.redis.cooldowns import CooldownStore
from services.gateway.endpoints.parts import Parts
from services.gateway.settings import Settings
from services.gateway.state import State
from services.gateway.upstream.adapters.target import TranslationRefused, TranslationTarget
from services.gateway.upstream.adapters.translator import Translator
from services.gateway.upstream.capacity import Capacity
from services.gateway.upstream.cooldowns import Cooldowns
from services.gateway.upstream.credentials import Credentials
from services.gateway.upstream.dispatch import Dispatcher
from services.gateway.upstream.forward import Forwarder
from services.gateway.upstream.library_calls import LibraryCalls
from services.gateway.upstream.translation.profiles import Profiles
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import (
    CHAT,
    MESSAGES,
    TEXT,
    TEXT_TOKENS,
    TOKENS,
    Dialect,
    chunk,
)
from tests.service.gateway.stage import OTHER_MODEL, Client, open_gateway, with_parts
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")


_USAGE = CHAT.whole["usage"]
_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gemini-tiny",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": TEXT},
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
}
_FRAMES = (
    chunk({"role": "assistant", "content": ""}, id="chatcmpl-1", created=1, model="gemini-tiny"),
    chunk({"content": TEXT}),
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n',
    b'data: {"choices": [], "usage": %s}\n\n' % json.dumps(_USAGE).encode(),
    b"data: [DONE]\n\n",
)


class FakeTranslator(Translator):
    """Answers in chat as told, without LiteLLM."""

    def __init__(self) -> None:
        self.calls: list[tuple[TranslationTarget, Mapping[str, Any]]] = []
        self._fault: Exception | None = None
        self._unknown: tuple[str, ...] = ()

    def does(self, fault: Exception | None = None, unknown: tuple[str, ...] = ()) -> None:
        """From now on, until the fault, and as if nothing had been asked before."""
        self.calls.clear()
        self._fault, self._unknown = fault, unknown

    async def prepare(self) -> None:
        """There is nothing to import."""

    async def unknown(self, target: TranslationTarget, body: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(name for name in self._unknown if name in body)

    async def answer(self, target: TranslationTarget, body: Mapping[str, Any]) -> bytes:
        self.calls.append((target, body))
        if self._fault is not None:
            raise self._fault
        return json.dumps(_ANSWER).encode()

    async def answer_stream(self, target: TranslationTarget, body: Mapping[str, Any]) -> Any:
        self.calls.append((target, body))
        return self._frames()

    async def _frames(self) -> AsyncGenerator[bytes, None]:
        for frame in _FRAMES[:2]:
            yield frame
        if self._fault is not None:
            raise self._fault
        for frame in _FRAMES[2:]:
            yield frame


@pytest.fixture(scope="module")
def translator() -> FakeTranslator:
    return FakeTranslator()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(translator: FakeTranslator, settings_with: SettingsWith) -> AsyncIterator[Client]:
    """With that translator, and no relay."""

    def change(_gateway: Parts, state: State, settings: Settings) -> dict[str, Any]:
        relay: Any = None
        tokenizer: Any = None
        forwarder = Forwarder(
            relay,
            LibraryCalls(translator, settings),
            Profiles(PriceMap(b"{}")),
            tokenizer,
            Credentials({}, Path()),
        )
        cooldowns = Cooldowns(CooldownStore(state["redis"]))
        capacity = Capacity(limit=10, account_limit=10, wait_s=1)
        return {"dispatcher": Dispatcher(forwarder, cooldowns, capacity)}

    async with open_gateway(settings_with(), with_parts(change)) as client:
        yield client


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_call_to_a_provider_only_litellm_knows(
    gateway: Client, translator: FakeTranslator, books: Books, dialect: Dialect, stream: bool
) -> None:
    """LiteLLM is asked in chat, whatever the client speaks, and the answer is the client's."""
    translator.does()
    secret = await books.add_key()
    body = dialect.body(model=OTHER_MODEL, stream=stream)

    response = await gateway.post(dialect.path, secret, body)

    assert TEXT in response.text
    # The name that the client asked for.
    assert f'"model":"{OTHER_MODEL}"' in response.text
    ((target, sent),) = translator.calls
    assert (target.provider, target.model, target.drop_params) == (
        "gemini",
        "gemini-tiny",
        False,
    )
    assert (target.api_base, target.api_key) == (None, None)
    assert sent["messages"] == [{"role": "user", "content": "Hi"}]
    assert sent["max_tokens"] == 100
    event = await books.the_event(secret)
    assert (event.status, event.translated, event.provider) == ("ok", True, "gemini")
    assert (event.usage, event.usage_source) == (TOKENS, "provider")


async def test_fields_that_litellm_lacks_are_refused_by_the_clients_name(
    gateway: Client, translator: FakeTranslator, books: Books
) -> None:
    translator.does(unknown=("stop",))
    secret = await books.add_key()
    body = MESSAGES.body(model=OTHER_MODEL, stop_sequences=["x"])

    response = await gateway.post(MESSAGES.path, secret, body)

    error = MESSAGES.check_error(response, 400, "unsupported_field")
    assert error["message"].startswith("stop_sequences: ")
    assert translator.calls == []
    event = await books.the_event(secret)
    assert (event.status, event.attempts) == ("refused", 0)


async def test_a_refusal_has_the_clients_format(
    gateway: Client, translator: FakeTranslator, books: Books, dialect: Dialect
) -> None:
    fault = TranslationRefused(403, "not for you", code="their_code", retry_after=None)
    secret = await books.add_key()

    translator.does(fault)
    response = await gateway.post(dialect.path, secret, dialect.body(model=OTHER_MODEL))

    error = dialect.check_error(response, 403, "their_code")
    assert error["message"] == "not for you"
    event = await books.the_event(secret)
    assert (event.status, event.http_status, event.error_code) == (
        "upstream_error",
        403,
        "their_code",
    )


async def test_a_provider_without_a_key_is_named(
    gateway: Client, translator: FakeTranslator, books: Books, dialect: Dialect
) -> None:
    secret = await books.add_key()

    translator.does(TranslationRefused(503, "set A_KEY", code="provider_not_configured"))
    response = await gateway.post(dialect.path, secret, dialect.body(model=OTHER_MODEL))

    error = dialect.check_error(response, 503, "provider_not_configured")
    assert error["message"] == "set A_KEY"
    event = await books.the_event(secret)
    assert (event.status, event.attempts) == ("refused", 0)


async def test_a_crash_is_reported_and_costs_nothing(
    gateway: Client, translator: FakeTranslator, books: Books, dialect: Dialect
) -> None:
    secret = await books.add_key()

    translator.does(KeyError("secret detail"))
    response = await gateway.post(dialect.path, secret, dialect.body(model=OTHER_MODEL))

    dialect.check_error(response, 500, "internal_error")
    assert "secret detail" not in response.text
    event = await books.the_event(secret)
    assert (event.status, event.http_status, event.usage) == ("upstream_error", 500, None)
    assert await books.held(secret) == 0


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (TranslationRefused(529, "too busy", code="overloaded", retry_after=None), "overloaded"),
        (KeyError("secret detail"), "internal_error"),
        (TimeoutError(), "upstream_timeout"),
    ],
    ids=["refused", "crashed", "timed out"],
)
async def test_a_broken_stream_ends_with_an_error_and_is_metered(
    gateway: Client,
    translator: FakeTranslator,
    books: Books,
    dialect: Dialect,
    fault: Exception,
    code: str,
) -> None:
    secret = await books.add_key()
    translator.does(fault)

    response = await gateway.post(
        dialect.path, secret, dialect.body(model=OTHER_MODEL, stream=True)
    )

    assert TEXT in response.text
    assert '"error"' in response.text
    assert "secret detail" not in response.text
    for end in ("[DONE]", "message_stop", "response.completed"):
        assert end not in response.text
    event = await books.the_event(secret)
    assert (event.status, event.error_code, event.usage_source) == (
        "upstream_error",
        code,
        "estimated",
    )
    assert event.usage is not None
    # After a fault of the gateway itself it counts bytes and asks nothing more of itself.
    expected = len(TEXT) // 4 if code == "internal_error" else TEXT_TOKENS
    assert event.usage.output_text == expected
