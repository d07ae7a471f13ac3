"""Tokens of what no provider reported, by LiteLLM's bundled tokeniser."""

import json
import socket
from typing import Any

import pytest

from libs.common.schemas.usage import TokenUsage
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.formats import CHAT, EMBEDDINGS
from services.gateway.upstream.adapters.tokens import MAX_TEXT_BYTES, BundledTokenizer
from services.gateway.usage.estimator import Estimator


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokeniser fetches its table where it does not find it."""

    def refuse(*_args: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (b"", 0),
        (b"Good day to you.", 5),
        (b"word " * 1_000, 1_001),
        # What marks the end of a text for a model is a text like any other here.
        (b"<|endoftext|>", 7),
        ("漢字".encode(), 3),
        (b"\xff", 1),
    ],
)
async def test_a_text_is_counted(text: bytes, tokens: int) -> None:
    assert await BundledTokenizer().count(text) == tokens


async def test_a_long_text_is_counted_by_its_bytes() -> None:
    assert await BundledTokenizer().count(b"a" * (MAX_TEXT_BYTES + 2)) == MAX_TEXT_BYTES // 4 + 1


async def estimate(body: dict[str, Any], answer: bytes, client_format: Any = CHAT) -> TokenUsage:
    request = client_format.decode(json.dumps({"model": "m", **body}).encode())
    priced = PricedRequest(request=request, prices={}, input_tokens=1)
    estimator = Estimator(BundledTokenizer())
    usage, source = await estimator.of_answer(client_format, priced, answer, None)
    assert source == "estimated"
    return usage


async def test_an_answer_and_its_prompt_are_counted() -> None:
    answer = json.dumps({"choices": [{"message": {"content": "Good day to you."}}]}).encode()
    turns = [{"role": "user", "content": "word " * 1_000}]

    usage = await estimate({"messages": turns}, answer)

    assert usage.output_text == 5
    assert usage.input_text is not None
    assert 1_000 < usage.input_text < 1_050


async def test_a_picture_is_not_counted_by_its_characters() -> None:
    url = "data:image/png;base64," + "iVBORw0KGgo" * 10_000
    turns = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]

    usage = await estimate({"messages": turns}, b"{}")

    assert usage.input_text is not None
    assert 1_600 < usage.input_text < 1_700
    assert usage.output_text == 0


async def test_an_embedding_has_no_output() -> None:
    usage = await estimate({"input": "Good day to you."}, b"{}", EMBEDDINGS)

    assert usage == TokenUsage(input_text=usage.input_text, output_text=0)
    assert usage.input_text is not None
    assert 5 <= usage.input_text <= 12
