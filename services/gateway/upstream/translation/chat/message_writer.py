"""Writes turns as a chat body's messages."""

from typing import NamedTuple

import msgspec

from services.gateway.upstream.translation.chat.family import CALL_SIGNATURES, SIGNATURES
from services.gateway.upstream.translation.chat.part_writer import (
    BREAK,
    PartWriter,
    Written,
    written_text_part,
)
from services.gateway.upstream.translation.conversation import Turn
from services.gateway.upstream.translation.names import sent_call_id, sent_name, short_call_id
from services.gateway.upstream.translation.parts import (
    Part,
    Refusal,
    Result,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report, unsupported
from services.gateway.upstream.translation.thought_signatures import UNSIGNED

_INSTRUCTING = ("system", "developer")
_FAILED = "Error:"
_encode = msgspec.json.encode


def write_messages(turns: tuple[Turn, ...], profile: Profile, report: Report) -> list[Written]:
    """What instructs the model before the conversation is one message."""
    writer = _Writer(profile, report)
    leading = 0
    while leading < len(turns) and turns[leading].role in _INSTRUCTING:
        leading += 1
    messages = writer.system(turns[:leading])
    for turn in turns[leading:]:
        if turn.role == "user":
            messages += writer.user(turn)
        elif turn.role == "assistant":
            messages += writer.assistant(turn)
        else:
            messages += writer.system((turn,))
    return messages


def takes_freeform(profile: Profile) -> bool:
    """OpenAI's models alone are made for tools whose input is not JSON; LiteLLM loses some."""
    return profile.family == "openai" and profile.library is None


class _Told(NamedTuple):
    """The parts of an assistant's turn, by the member of its message."""

    said: list[Text]
    refusals: list[str]
    thoughts: list[Thinking]
    calls: list[Written]


class _Writer:
    def __init__(self, profile: Profile, report: Report) -> None:
        self._profile = profile
        self._report = report
        self._parts = PartWriter(profile, report)
        self._takes_freeform = takes_freeform(profile)
        # Servers whose models read text alone often take no lists of parts.
        self._takes_lists = profile.sees or profile.hears or profile.reads_pdf

    def system(self, turns: tuple[Turn, ...]) -> list[Written]:
        parts = [
            written for turn in turns for part in turn.parts for written in self._parts.write(part)
        ]
        if not parts:
            return []
        message = {"role": self._profile.system_word, "content": self._joined(parts)}
        if len(turns) == 1 and turns[0].name:
            message["name"] = turns[0].name
        return [message]

    def user(self, turn: Turn) -> list[Written]:
        """Results of tools come first, and are text; what else they have goes to the user's."""
        first = turn.parts[0] if len(turn.parts) == 1 else None
        if type(first) is Text and first.cache is None and first.text and not turn.name:
            # As most turns are.
            return [{"role": "user", "content": first.text}]
        messages: list[Written] = []
        content: list[Written] = []
        own: list[Written] = []
        for part in turn.parts:
            if type(part) is Result:
                message, others = self._result(part)
                messages.append(message)
                content += others
            else:
                own += self._parts.write(part)
        content += own
        if content:
            message = {"role": "user", "content": self._content(content)}
            if turn.name:
                message["name"] = turn.name
            messages.append(message)
        return messages

    def assistant(self, turn: Turn) -> list[Written]:
        """No message of a turn that has nothing left to say, such as one of foreign thinking."""
        told = self._sorted(turn.parts)
        message: Written = {"role": "assistant", "content": None}
        if told.refusals and self._profile.family == "openai":
            message["refusal"] = "".join(told.refusals)
        else:
            told.said.extend([Text(text=text) for text in told.refusals])
        if told.said:
            message["content"] = self._spoken(told.said) or None
        if told.thoughts:
            message |= self._thinking(told.thoughts)
        if told.calls:
            message["tool_calls"] = told.calls
        if message["content"] is None and len(message) == len(("role", "content")):
            return []
        if turn.name:
            message["name"] = turn.name
        return [message]

    def _sorted(self, parts: tuple[Part, ...]) -> _Told:
        told = _Told([], [], [], [])
        for part in parts:
            if type(part) is Text:
                told.said.append(part)
            elif type(part) is ToolCall:
                told.calls.append(self._call(part))
            elif type(part) is Thinking:
                told.thoughts.append(part)
            elif type(part) is Refusal:
                told.refusals.append(part.text)
            else:
                self._refuse(part)
        return told

    def _refuse(self, part: Part) -> None:
        """All but what the provider's search left, of which the text stays."""
        if self._parts.write(part):
            raise unsupported(
                self._report.paths.of(part.at), "it cannot be carried in the assistant's turn"
            )

    def _spoken(self, said: list[Text]) -> str | list[Written]:
        """One text, as a chat model's answer is; in parts only where a mark is to be kept."""
        if len(said) == 1 and said[0].cache is None:
            return said[0].text
        if self._profile.takes_cache_marks and any(text.cache is not None for text in said):
            return [
                written_text_part(text.text, text.cache, self._profile)
                for text in said
                if text.text
            ]
        return "".join(text.text for text in said)

    def _thinking(self, thoughts: list[Thinking]) -> Written:
        """In the member where the target wants it, with its signatures or of itself."""
        family, member = self._profile.family, self._profile.replays_thinking
        if family == SIGNATURES:
            blocks = [
                _block(thought, thought.signature)
                for thought in thoughts
                if thought.signature is not None and thought.signature.family == SIGNATURES
            ]
            return {"thinking_blocks": blocks} if blocks else {}
        if member is None:
            return {}
        own = BREAK.join(
            thought.text
            for thought in thoughts
            if thought.text
            and (thought.signature is None or thought.signature.family in (UNSIGNED, family))
        )
        return {member: own} if own else {}

    def _call(self, call: ToolCall) -> Written:
        written: Written = {
            "id": self._call_id(call.id),
            "type": "function",
        }
        name = sent_name(call.name, call.namespace, self._profile.max_name_chars)
        if not call.is_freeform:
            written["function"] = {"name": name, "arguments": call.arguments or "{}"}
        elif self._takes_freeform:
            written["type"] = "custom"
            written["custom"] = {"name": name, "input": call.arguments}
        else:
            arguments = _encode({"input": call.arguments}).decode()
            written["function"] = {"name": name, "arguments": arguments}
        signature = call.signature
        if signature is not None and signature.family == CALL_SIGNATURES == self._profile.family:
            written["extra_content"] = {"google": {"thought_signature": signature.data}}
        return written

    def _result(self, result: Result) -> tuple[Written, list[Written]]:
        """The tool's message, and what of the result is not text, each behind its call's id."""
        texts: list[str] = []
        others: list[Written] = []
        call_id = self._call_id(result.call_id)
        for part in result.parts:
            if type(part) is Text:
                if part.text:
                    texts.append(part.text)
                continue
            for written in self._parts.write(part):
                if written["type"] == "text":
                    texts.append(written["text"])
                    continue
                self._report.adapted(self._report.paths.of(part.at))
                line = f"From the result of tool call {call_id}:"
                others += [written_text_part(line, None, self._profile), written]
        text = BREAK.join(texts)
        if result.has_failed and not text.startswith(_FAILED):
            text = f"{_FAILED} {text}".rstrip()
        content: str | list[Written] = text
        if result.cache is not None and self._profile.takes_cache_marks and text:
            content = [written_text_part(text, result.cache, self._profile)]
        message = {
            "role": "tool",
            "tool_call_id": call_id,
            "content": content,
        }
        return message, others

    def _call_id(self, call_id: str) -> str:
        family = self._profile.family
        if family == "mistral":
            return short_call_id(call_id)
        return sent_call_id(call_id, is_plain=family == "anthropic")

    def _content(self, parts: list[Written]) -> str | list[Written]:
        if len(parts) == 1 and _is_plain(parts[0]):
            text: str = parts[0]["text"]
            return text
        return parts if self._takes_lists else self._joined(parts)

    @staticmethod
    def _joined(parts: list[Written]) -> str | list[Written]:
        if all(map(_is_plain, parts)):
            return BREAK.join(part["text"] for part in parts)
        return parts


def _is_plain(part: Written) -> bool:
    """A text without a mark."""
    return part["type"] == "text" and len(part) == len(("type", "text"))


def _block(thought: Thinking, signature: ThoughtSignature) -> Written:
    if thought.is_redacted:
        return {"type": "redacted_thinking", "data": signature.data}
    return {"type": "thinking", "thinking": thought.text, "signature": signature.data}
