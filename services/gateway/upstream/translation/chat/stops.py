"""Why answers end: the reasons of servers that speak chat, and those that clients get."""

from services.gateway.upstream.translation.reply import Stop, StopKind

# In any case of letters; several of them are Google's, Mistral's, DeepSeek's or Zhipu's own.
_KINDS: dict[str, StopKind] = {
    "stop": "end",
    "end_turn": "end",
    "eos": "end",
    "tool_calls": "tool",
    "function_call": "tool",
    "tool_use": "tool",
    "length": "limit",
    "max_tokens": "limit",
    "model_length": "window",
    "model_context_window_exceeded": "window",
    "stop_sequence": "sequence",
    "content_filter": "blocked",
    "safety": "blocked",
    "recitation": "blocked",
    "language": "blocked",
    "blocklist": "blocked",
    "prohibited_content": "blocked",
    "spii": "blocked",
    "image_safety": "blocked",
    "sensitive": "blocked",
    "refusal": "blocked",
    "pause_turn": "pause",
    "insufficient_system_resource": "pause",
    "network_error": "pause",
    "abort": "pause",
    "malformed_function_call": "malformed",
    "unexpected_tool_call": "malformed",
    "too_many_tool_calls": "malformed",
    "missing_thought_signature": "malformed",
}
_SAID: dict[StopKind, str] = {
    "end": "stop",
    "tool": "tool_calls",
    "limit": "length",
    "window": "length",
    "sequence": "stop",
    "declined": "stop",
    "blocked": "content_filter",
    # The turn is not over: a client that goes on gets the rest.
    "pause": "length",
}
_OVER = ("end", "tool", "sequence")


def stop_of(
    reason: str | None, stop_string: str | int | None, *, has_calls: bool, has_refused: bool
) -> Stop:
    """`stop_string` is the one that a server says it met. An unknown word is an end."""
    kind = _KINDS.get((reason or "stop").lower(), "end")
    sequence = stop_string if isinstance(stop_string, str) and kind in ("end", "sequence") else None
    if kind in _OVER and has_calls:
        return Stop(kind="tool", reason=reason)
    if kind in _OVER and has_refused:
        return Stop(kind="declined", reason=reason)
    if sequence is not None:
        return Stop(kind="sequence", reason=reason, sequence=sequence)
    # A tool's use without any call is none, and a sequence without its text as well.
    return Stop(kind="end" if kind in _OVER else kind, reason=reason)


def finish_reason(stop: Stop, *, is_legacy: bool) -> str:
    """`is_legacy`: the call is told in the first form of tools."""
    return "function_call" if is_legacy and stop.kind == "tool" else _SAID[stop.kind]
