"""A translation writes zeros where the provider reported nothing, since the format has no null."""

from typing import Any

import pytest

from libs.common.schemas.usage import TokenUsage
from services.gateway.formats import MESSAGES
from tests.unit.gateway.streams import frame_of, messages_stream, relay

REQUEST = MESSAGES.decode(b'{"model": "m", "stream": true}')
NOTHING = {"input_tokens": 0, "output_tokens": 0}
CACHES = {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
SPLIT = {"cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}}


@pytest.mark.parametrize("zeros", [NOTHING, NOTHING | CACHES])
def test_a_stream_of_no_tokens_is_estimated(zeros: dict[str, Any]) -> None:
    frames = messages_stream(["123456"])
    frames[0] = frame_of("message_start", message={"id": "m-1", "usage": zeros})
    frames[-2] = frame_of("message_delta", delta={"stop_reason": "end_turn"}, usage=zeros)

    result = relay(MESSAGES, REQUEST, frames)

    reference = relay(MESSAGES, REQUEST, [frames[0], *frames[1:-2], frames[-1]])
    assert (result.status, result.usage_source) == ("ok", "estimated")
    assert result.usage.output_text is not None
    assert result.usage.output_text > 0
    assert result.usage.input_text == reference.usage.input_text


def test_unreported_input_of_a_stream_is_estimated() -> None:
    reader = MESSAGES.reader(REQUEST)
    reader.read(frame_of("message_start", message={"usage": NOTHING}))
    assert reader.usage() is None
    assert reader.estimate(70, 9) == TokenUsage(input_text=70, output_text=9)
