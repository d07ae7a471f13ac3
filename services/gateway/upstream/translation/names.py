"""Names of tools and ids of calls that fit a target, and the way back."""

import re
from hashlib import sha256

import msgspec

from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.refusals import Paths, invalid
from services.gateway.upstream.translation.tools import Freeform, Function

_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
_KEPT_CHARS = 55
_DIGEST_CHARS = 8
_MAX_CALL_ID_CHARS = 64
_CALL_DIGEST_CHARS = 40
_SHORT_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")
_SHORT_CHARS = 9
NAMESPACE_MARK = "__"


class ToolNames(msgspec.Struct, frozen=True):
    """The client's tools by the name that the target knows: `(namespace, name, is_freeform)`."""

    known: dict[str, tuple[str | None, str, bool]] = {}

    def original(self, name: str) -> tuple[str | None, str, bool]:
        """A name that no tool has was made up by the model, and passes unchanged."""
        return self.known.get(name, (None, name, False))


def tool_names(request: Request, max_chars: int, paths: Paths) -> ToolNames:
    """Raises InvalidRequest where two tools would be the same to the target.

    Of tools that later items bring along, the earliest has the name.
    """
    known: dict[str, tuple[str | None, str, bool]] = {}
    for tool in request.tools:
        if not isinstance(tool, (Function, Freeform)):
            continue
        original = (tool.namespace, tool.name, isinstance(tool, Freeform))
        if known.setdefault(sent_name(tool.name, tool.namespace, max_chars), original) is original:
            continue
        if tool.at[0] < 0 and original in known.values():
            continue
        raise invalid(
            paths.tool(tool.at),
            f"another tool has the name {tool.name[:64]!r}, or one that is sent as the same",
        )
    return ToolNames(known)


def sent_name(name: str, namespace: str | None, max_chars: int) -> str:
    """A tool's name as a target takes it; the same name is always sent as the same."""
    full_name = name if namespace is None else f"{namespace}{NAMESPACE_MARK}{name}"
    if len(full_name) <= max_chars and _is_plain(full_name):
        return full_name
    digest = sha256(full_name.encode()).hexdigest()[:_DIGEST_CHARS]
    return f"{_FOREIGN.sub('_', full_name)[:_KEPT_CHARS]}_{digest}"


def _is_plain(name: str) -> bool:
    """Nearly all are identifiers, which is told faster."""
    return (name.isascii() and name.isidentifier()) or not _FOREIGN.search(name)


def short_call_id(call_id: str) -> str:
    """As Mistral wants them: nine letters and digits. Both ends map alike."""
    if _SHORT_CALL_ID.fullmatch(call_id):
        return call_id
    return sha256(call_id.encode()).hexdigest()[:_SHORT_CHARS]


def sent_call_id(call_id: str, *, is_plain: bool) -> str:
    """`is_plain`: the target takes letters, digits, `_` and `-` alone. Both ends map alike."""
    if len(call_id) <= _MAX_CALL_ID_CHARS and not (is_plain and not _is_plain(call_id)):
        return call_id
    return f"c_{sha256(call_id.encode()).hexdigest()[:_CALL_DIGEST_CHARS]}"
