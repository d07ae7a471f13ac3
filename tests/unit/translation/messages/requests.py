"""Bodies in Anthropic's Messages format, and what becomes of them."""

from typing import Any

import msgspec

from services.gateway.formats.base import decode_fields
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.messages import MESSAGES
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Paths, Report

CLAUDE = Profile(
    family="anthropic", formats=("messages",), takes_cache_marks=True, max_output=64_000
)
# Of a client of another format, in whose words refusals are.
CHAT_PATHS = Paths(
    format="chat",
    turns="messages",
    parts=("content",),
    fields={"shape": "response_format", "limits.answers": "n", "limits.hosted_calls": "tool_calls"},
)


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    default = [{"role": "user", "content": "hi"}]
    return {"model": "claude-x", "max_tokens": 100, "messages": list(messages) or default, **fields}


def read(client_body: dict[str, Any]) -> Request:
    return MESSAGES.read_request(decode_fields(msgspec.json.encode(client_body)))


def write(
    request: Request,
    profile: Profile = CLAUDE,
    *,
    paths: Paths = CHAT_PATHS,
    drops: bool = False,
    report: Report | None = None,
) -> dict[str, Any]:
    """The body as the provider gets it."""
    report = report or Report(paths, drops=drops)
    fields = MESSAGES.write_request(request, "claude-x", profile, report)
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(fields))
    return decoded


def rewritten(client_body: dict[str, Any]) -> dict[str, Any]:
    """Read and written in the same format."""
    return write(read(client_body), paths=MESSAGES.paths)
