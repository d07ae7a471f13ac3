"""Bodies of chat calls for the tests, and who judges them."""

import json
from typing import Any

import msgspec
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from services.gateway.upstream.translation.chat.paths import PATHS
from services.gateway.upstream.translation.chat.request_reader import read_request
from services.gateway.upstream.translation.chat.request_writer import write_request
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report
from tests.unit.translation.judge import faults

OPENAI = Profile(
    family="openai",
    takes_search=True,
    takes_cache_marks=True,
    max_stops=4,
    limit_word="max_completion_tokens",
    system_word="developer",
)
OTHER = Profile(takes_top_k=True)


def fields_of(body: dict[str, Any]) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(json.dumps(body).encode(), type=dict[str, msgspec.Raw])


def read(**body: Any) -> Request:
    body.setdefault("messages", [{"role": "user", "content": "hi"}])
    return read_request(fields_of({"model": "m", **body}))


def write(request: Request, profile: Profile = OTHER, *, drops: bool = False) -> Any:
    """The body as it is on the wire."""
    return reported(request, profile, drops=drops)[0]


def reported(
    request: Request, profile: Profile = OTHER, *, drops: bool = False
) -> tuple[Any, Report]:
    report = Report(PATHS, drops=drops)
    body = json.loads(msgspec.json.encode(write_request(request, "m", profile, report)))
    if profile is OPENAI:
        judge(body)
    return body, report


def judge(body: dict[str, Any]) -> None:
    """By the SDK's own type, member by member."""
    kind = (
        CompletionCreateParamsStreaming if "stream" in body else CompletionCreateParamsNonStreaming
    )
    assert faults(body, kind) == []
