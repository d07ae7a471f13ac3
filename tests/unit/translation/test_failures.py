"""How long a translated error asks a client to wait."""

import json
from typing import Any

import msgspec
import pytest

from libs.common.errors import UpstreamRefused
from services.gateway.calls.headers import Header
from services.gateway.upstream.answer import WholeAnswer
from services.gateway.upstream.translation.engine import ClientCall, translate
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.way_back import translated_answer

# Mon, 24 Nov 2025 16:00:00 GMT
NOW_S = 1_764_000_000
BODY = b'{"type":"error","error":{"type":"rate_limit_error","message":"Slow down."}}'


@pytest.mark.parametrize(
    ("headers", "waits_s"),
    [
        ([(b"retry-after", b"7")], 7),
        ([(b"retry-after", b"0.4")], 1),
        ([(b"retry-after-ms", b"1500")], 2),
        ([(b"retry-after", b"Mon, 24 Nov 2025 16:00:09 GMT")], 9),
        ([(b"retry-after", b"soon")], None),
        ([], None),
    ],
)
def test_a_providers_pause_is_read_in_whole_seconds(
    headers: list[Header], waits_s: int | None
) -> None:
    fields: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
    }
    request = ClientCall(
        client="chat",
        fields={name: msgspec.Raw(json.dumps(value).encode()) for name, value in fields.items()},
        model="m",
        created=NOW_S,
        call_id="call",
    )
    profile = Profile(family="anthropic", formats=("messages",))
    translation = translate(request, "claude", profile, ("messages",), drops=False)

    with pytest.raises(UpstreamRefused) as refused:
        translated_answer(translation, WholeAnswer(status=429, headers=headers, body=BODY))

    assert (refused.value.status, refused.value.retry_after_s) == (429, waits_s)
    message = "Slow down." if waits_s is None else f"Slow down. Please try again in {waits_s}s."
    assert refused.value.message == message
