"""Our translation of the golden conversations, beside what LiteLLM's adapters make of them."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from libs.common.errors import AppError
from services.gateway.upstream.adapters.target import TranslationRefused, TranslationTarget
from services.gateway.upstream.adapters.translator import Translator
from tests.parity.translation_differences import DIFFERENCES
from tests.service.gateway.translation_wire import Answer, TranslatedProvider, serving
from tests.unit.translation.golden import player

Leaf = tuple[str, str]
_GIVEN = {name: player.given(name) for name in player.names()}
# The adapters ask Anthropic in its own format, and all others in chat.
COMPARED = [
    name
    for name, call in _GIVEN.items()
    if call.answered is not None
    and call.client != call.format
    and (call.format == "messages" or call.target.startswith(("openai/", "deepseek/")))
    and call.format != "responses"
]


@pytest.fixture
async def provider() -> AsyncIterator[TranslatedProvider]:
    async with serving() as provider:
        yield provider


@pytest.fixture
async def translator() -> AsyncIterator[Translator]:
    translator = Translator()
    yield translator
    await translator.close()


def leaves(value: Any, path: str = "") -> Iterator[Leaf]:
    """Every value with its path, without the indices of lists."""
    if isinstance(value, dict) and value:
        for name, member in value.items():
            yield from leaves(member, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for each in value:
            yield from leaves(each, f"{path}[]")
    else:
        yield path, json.dumps(value)


async def theirs(
    translator: Translator, provider: TranslatedProvider, call: player.Given
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the provider is sent, and the client told."""
    assert call.answered is not None
    name, _, model = call.target.partition("/")
    provider.answer = Answer(
        call.answered.body, status=call.answered.status, headers=call.answered.headers
    )
    target = TranslationTarget(
        provider=name,
        model=model,
        api_base=provider.url if name == "anthropic" else f"{provider.url}/v1",
        api_key="sk-secret",
        timeout_s=10,
        drop_params=call.drops,
    )
    try:
        answer = json.loads(await translator.complete(call.client, target, call.asked))
    except TranslationRefused as error:
        answer = {"refused": error.status}
    return provider.body, answer


def ours(call: player.Given) -> tuple[dict[str, Any], dict[str, Any]]:
    assert call.answered is not None
    translation = player.translation_of(call)
    sent = json.loads(msgspec.json.encode(translation.fields))
    try:
        return sent, json.loads(player.answer_of(translation, call.answered).body)
    except AppError as error:
        return sent, {"refused": error.status}


async def test_translation_differs_from_litellms_as_it_should(
    translator: Translator, provider: TranslatedProvider
) -> None:
    unexplained: list[str] = []
    needed: Counter[str] = Counter()
    for name in COMPARED:
        call = _GIVEN[name]
        where = f"{call.client}-{call.format} {name}"
        pairs = zip(ours(call), await theirs(translator, provider, call), strict=True)
        for part, (mine, other) in zip(("sent", "told"), pairs, strict=True):
            for path, value in sorted(set(leaves(mine)) ^ set(leaves(other))):
                found = [each for each in DIFFERENCES if each.applies(where, part, path, value)]
                if not found:
                    unexplained.append(f"{where}: {part} {path} {value}")
                needed.update(each.name for each in found)

    assert unexplained == []
    assert set(needed) == {difference.name for difference in DIFFERENCES}
    assert len(COMPARED) > 40
