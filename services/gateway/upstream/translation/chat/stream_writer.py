"""Writes a stream of chat's chunks for a client.

One part is open at a time, as the sequencer sees to. A chunk is a template around one text.
"""

from typing import Any

import msgspec

from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.chat.answer_writer import MALFORMED, answer_id
from services.gateway.upstream.translation.chat.calls import call_extra, chat_call_head
from services.gateway.upstream.translation.chat.citations import chat_annotation
from services.gateway.upstream.translation.chat.family import CALL_SIGNATURES
from services.gateway.upstream.translation.chat.open_parts import OpenChatCall, OpenThought
from services.gateway.upstream.translation.chat.part_writer import BREAK
from services.gateway.upstream.translation.chat.stops import finish_reason
from services.gateway.upstream.translation.chat.thoughts import redacted_block, signed_block
from services.gateway.upstream.translation.chat.usage_writer import tier_of, write_usage
from services.gateway.upstream.translation.omissions import omission
from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.reply import AnswerContext, ReportedError, Stop
from services.gateway.upstream.translation.thought_signatures import UNSIGNED

_encode = msgspec.json.encode
_MALFORMED = ReportedError(message=MALFORMED, status=502, code="upstream_malformed_call")
_SERVER_ERROR = 500
_TOO_MANY_REQUESTS = 429


class ChatStreamWriter:
    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        request = context.request
        self._is_legacy = request.has_legacy_functions
        self._out: list[bytes] = []
        self._base = self._head = b""
        self._usage_member = b',"usage":null' if request.wants_usage else b""
        self._tail = self._ending(b"null", b"null")
        # What is open: text, refusal, thinking, call, or nothing.
        self._kind = ""
        self._has_role = False
        self._text_chars = 0
        self._text_start = 0
        self._citations: list[msgspec.Raw] = []
        self._thought = OpenThought()
        self._has_thought = False
        self._block_count = 0
        self._open: OpenChatCall | None = None
        self._numbers: dict[str, int] = {}
        self._call_count = 0
        self._call_signatures: dict[str, ThoughtSignature] = {}
        self._usage: TokenUsage | None = None
        self._stop: Stop | None = None
        self._has_failed = False

    def take(self) -> bytes:
        output = b"".join(self._out)
        self._out.clear()
        return output

    def started(self, upstream_id: str, model: str, created: int | None) -> None:
        head = {
            "id": answer_id(upstream_id),
            "object": "chat.completion.chunk",
            "created": self._context.created if created is None else created,
            "model": self._context.model,
        }
        self._base = b"data: " + _encode(head)[:-1] + b',"choices":['
        self._head = self._base + b'{"index":0,"delta":'

    def text(self, delta: str, logprobs: msgspec.Raw | None = None) -> None:
        if self._kind != "text":
            self._begin("text", b'""')
            self._text_start = self._text_chars
        if not delta:
            return
        self._text_chars += len(delta)
        content = b'{"content":' + _encode(delta) + b"}"
        if logprobs is None:
            self._put(content)
        else:
            entries = b'{"content":' + bytes(logprobs) + b',"refusal":null}'
            self._out.append(self._head + content + self._ending(entries, b"null"))

    def refusal(self, delta: str) -> None:
        self._begin("refusal")
        self._put(b'{"refusal":' + _encode(delta) + b"}")

    def thinking(self, delta: str, summary: int | None = None) -> None:
        if self._kind != "thinking":
            self._begin("thinking")
            self._thought = OpenThought(is_begun=True)
        if not delta:
            return
        text = self._thought.add(delta, summary)
        if not self._thought.is_told and self._has_thought:
            text = BREAK + text
        self._thought.is_told = self._has_thought = True
        self._put(b'{"reasoning_content":' + _encode(text) + b"}")

    def sign(self, signature: ThoughtSignature, call_id: str | None = None) -> None:
        if call_id is not None:
            self._sign_call(signature, call_id)
            return
        if signature.family == UNSIGNED:
            return
        thought, self._thought = self._thought, OpenThought()
        if self._kind == "thinking":
            self._kind = ""
        self._role(b"null")
        text = thought.text()
        if text is None:
            return
        block = signed_block(text, signature) if thought.is_begun else redacted_block(signature)
        numbered = {"index": self._block_count, **block}
        self._block_count += 1
        self._put(_encode({"thinking_blocks": [numbered]}))

    def call(self, key: int, call_id: str, name: str, delta: str, is_freeform: bool) -> None:
        call = self._open
        if call is None or call.key != key:
            call = self._begin_call(key, call_id, name, is_freeform)
        if call.head.is_wrapped:
            call.deltas.append(delta)
        elif delta:
            self._put(call.start + _encode(delta) + call.end)

    def cite(self, citation: msgspec.Raw, family: str) -> None:
        """Told when the text is over, for some are of all of it."""
        self._citations.append(citation)

    def hosted(self, kind: str, raw: msgspec.Raw, family: str, at: int) -> None:
        """Chat has no word for what the provider's tools did."""
        self._begin("")
        self._out.append(omission(self._context, kind, at))

    def ended(self) -> None:
        self._begin("")
        self._thought = OpenThought()

    def usage(self, usage: TokenUsage) -> None:
        self._usage = usage

    def stop(self, stop: Stop) -> None:
        self._stop = stop

    def failed(self, failure: ReportedError) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        error = {
            "message": failure.message,
            "type": failure.kind or _kind_of(failure.status),
            "param": failure.param,
            "code": failure.code,
        }
        self._out.append(b"data: " + _encode({"error": error}) + b"\n\n")

    def finish(self) -> None:
        if self._has_failed:
            return
        stop = self._stop or Stop(kind="end")
        if stop.kind == "malformed":
            self.failed(_MALFORMED)
            return
        if stop.kind == "blocked" and stop.explanation:
            self.refusal(stop.explanation)
        self._begin("", b'""')
        reason = _encode(finish_reason(stop, is_legacy=self._is_legacy))
        self._out.append(self._head + b"{}" + self._ending(b"null", reason))
        self._finish_usage()
        self._out.append(b"data: [DONE]\n\n")

    def _finish_usage(self) -> None:
        if not self._context.request.wants_usage:
            return
        usage = write_usage(self._usage)
        if usage is None:
            return
        tier = tier_of(self._usage.service_tier if self._usage is not None else None)
        members: dict[str, Any] = {"usage": usage}
        if tier is not None:
            members["service_tier"] = tier
        self._out.append(self._base + b"]," + _encode(members)[1:] + b"\n\n")

    def _begin(self, kind: str, content: bytes = b"null") -> None:
        """Ends what is open, if it is of another kind; the first chunk tells the role."""
        if not self._base:
            self.started("", "", None)
        if self._kind != kind:
            self._close()
            self._kind = kind
        if kind or content != b"null":
            self._role(content)

    def _close(self) -> None:
        if self._kind == "text" and self._citations:
            found = [
                chat_annotation(raw, self._text_start, self._text_chars) for raw in self._citations
            ]
            self._citations.clear()
            if annotations := [each for each in found if each is not None]:
                self._put(_encode({"annotations": annotations}))
        call, self._open = self._open, None
        if call is not None and call.head.is_wrapped:
            call_input = call.head.client_input("".join(call.deltas))
            self._put(call.start + _encode(call_input) + call.end)

    def _role(self, content: bytes) -> None:
        if not self._has_role:
            self._has_role = True
            self._put(b'{"role":"assistant","content":' + content + b',"refusal":null}')

    def _begin_call(self, key: int, call_id: str, name: str, is_freeform: bool) -> OpenChatCall:
        self._close()
        self._kind = ""
        self._begin("call")
        head = chat_call_head(call_id, name, is_freeform, self._context.names)
        is_legacy = self._is_legacy and not self._numbers and not head.is_freeform
        number = self._call_count
        self._numbers[call_id] = number
        if is_legacy:
            delta: dict[str, Any] = {"function_call": {"name": head.name, "arguments": ""}}
        else:
            self._call_count += 1
            signature = self._call_signatures.pop(call_id, None)
            delta = {"tool_calls": [{"index": number, **head.call("", signature)}]}
        self._put(_encode(delta))
        self._open = OpenChatCall(key, head, number, is_legacy=is_legacy)
        return self._open

    def _sign_call(self, signature: ThoughtSignature, call_id: str) -> None:
        """It may come before the call, which may have to wait for another one."""
        if signature.family != CALL_SIGNATURES:
            return
        number = self._numbers.get(call_id)
        if number is None:
            self._call_signatures[call_id] = signature
            return
        call_delta = {"index": number, "extra_content": call_extra(signature)}
        self._put(_encode({"tool_calls": [call_delta]}))

    def _put(self, delta: bytes) -> None:
        self._out.append(self._head + delta + self._tail)

    def _ending(self, logprobs: bytes, reason: bytes) -> bytes:
        end = b',"logprobs":' + logprobs + b',"finish_reason":' + reason + b"}]"
        return end + self._usage_member + b"}\n\n"


def _kind_of(status: int | None) -> str:
    if status == _TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "api_error" if status is None or status >= _SERVER_ERROR else "invalid_request_error"
