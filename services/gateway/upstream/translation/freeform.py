"""Custom tools, whose input is free text, as functions for targets that know only those."""

import msgspec

from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.tools import Freeform

ONE_INPUT = msgspec.Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},'
    b'"required":["input"],"additionalProperties":false}'
)
_BREAK = "\n\n"


def description_of(tool: Freeform, report: Report) -> str | None:
    """With its grammar told in words, which the model may stray from: so it is reported."""
    lines = [tool.description] if tool.description else []
    if tool.grammar is not None:
        report.adapted(report.paths.tool(tool.at, "format"))
        kind = f" ({tool.syntax})" if tool.syntax else ""
        lines.append(f"The input follows this grammar{kind}:\n{tool.grammar}")
    return _BREAK.join(lines) or None
