"""The response object of the OpenAI responses format and the items in it."""

from typing import Any

import msgspec

from deploy.local.provider.answers import THOUGHT, ScriptedTokens
from deploy.local.provider.wire import ScriptedCall, ServedUsage, encode


def usage(tokens: ScriptedTokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input_total,
        "input_tokens_details": {
            "cached_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write,
        },
        "output_tokens": tokens.output_total,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input_total + tokens.output_total,
    }


def served_usage(call: ScriptedCall) -> ServedUsage | None:
    if call.script.no_usage:
        return None
    return ServedUsage(usage=encode(usage(call.tokens)), tokens=call.tokens)


def scripted_status(call: ScriptedCall) -> str:
    return "incomplete" if call.answer.truncated else "completed"


def scripted_response(
    call: ScriptedCall, status: str, output: list[dict[str, Any]], served: ServedUsage | None
) -> dict[str, Any]:
    incomplete = {"reason": "max_output_tokens"} if status == "incomplete" else None
    return {
        "id": call.id,
        "object": "response",
        "created_at": call.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": incomplete,
        "instructions": None,
        "max_output_tokens": call.ask.output_limit,
        "model": call.ask.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if served is None else msgspec.Raw(served.usage),
        "user": None,
        "metadata": {},
    }


def part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def item(call: ScriptedCall, status: str) -> dict[str, Any]:
    """The message or the function call: empty while in progress, whole afterwards."""
    begun = status == "in_progress"
    if call.answer.tool is not None:
        return {
            "id": f"fc_{call.id}",
            "type": "function_call",
            "status": status,
            "call_id": f"call_{call.id}",
            "name": call.answer.tool,
            "arguments": "" if begun else call.answer.whole,
        }
    return {
        "id": f"msg_{call.id}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [] if begun else [part(call.answer.whole)],
    }


def reasoning(call: ScriptedCall, summary: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": f"rs_{call.id}", "type": "reasoning", "summary": summary}


def output(call: ScriptedCall) -> list[dict[str, Any]]:
    last = item(call, scripted_status(call))
    if call.tokens.reasoning:
        return [reasoning(call, [{"type": "summary_text", "text": THOUGHT}]), last]
    return [last]
