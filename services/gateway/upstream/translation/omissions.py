"""Parts of an answer that the client's format cannot express: named, never left out silently."""

import re

from services.gateway.upstream.headers import DROPPED_CONTENT
from services.gateway.upstream.translation.parts import At
from services.gateway.upstream.translation.reply import AnswerContext

# Its findings are told by the text's citations.
_TOLD_OTHERWISE = "web_search"
# A provider can give a part any name.
_KIND = re.compile(r"[a-z0-9_]{1,40}")


def omit(context: AnswerContext, kind: str, at: At) -> str | None:
    """Notes it for the answer's headers, such as `content[2].compaction`; None for no need to."""
    if kind == _TOLD_OTHERWISE:
        return None
    path = context.parts + "".join(f"[{index}]" for index in at)
    if _KIND.fullmatch(kind):
        path = f"{path}.{kind}"
    context.omitted.append(path)
    return path


def omission(context: AnswerContext, kind: str, at: int) -> bytes:
    """As a comment of the stream, which clients skip: its head has gone out. Empty for none."""
    path = omit(context, kind, (at,))
    return b"" if path is None else b": %b: %b\n\n" % (DROPPED_CONTENT, path.encode())
