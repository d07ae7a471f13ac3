"""Writes turns as a chat body's messages."""

from typing import NamedTuple

import msgspec

from services.gateway.upstream.translation.chat.family import CALL_SIGNATURES, SIGNATURES
from services.gateway.upstream.translation.chat.part_writer import (
    BREAK,
    JsonObject,
    PartWriter,
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


def write_messages(turns: tuple[Turn, ...], profile: Profile, report: Report) -> list[JsonObject]:
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


class _AssistantParts(NamedTuple):
    """The parts of an assistant's turn, by the member of its message."""

    texts: list[Text]
    refusals: list[str]
    thoughts: list[Thinking]
    calls: list[JsonObject]


class _Writer:
    def __init__(self, profile: Profile, report: Report) -> None:
        self._profile = profile
        self._report = report
        self._parts = PartWriter(profile, report)
        self._takes_freeform = takes_freeform(profile)
        # Servers whose models read text alone often take no lists of parts.
        self._takes_lists = profile.sees or profile.hears or profile.reads_pdf

    def system(self, turns: tuple[Turn, ...]) -> list[JsonObject]:
        parts = [
            piece for turn in turns for part in turn.parts for piece in self._parts.write(part)
        ]
        if not parts:
            return []
        message = {"role": self._profile.system_word, "content": self._join_texts(parts)}
        if len(turns) == 1 and turns[0].name:
            message["name"] = turns[0].name
        return [message]

    def user(self, turn: Turn) -> list[JsonObject]:
        """Results of tools come first, and are text; what else they have goes to the user's."""
        only_part = turn.parts[0] if len(turn.parts) == 1 else None
        if type(only_part) is Text and only_part.cache is None and only_part.text and not turn.name:
            # As most turns are.
            return [{"role": "user", "content": only_part.text}]
        messages: list[JsonObject] = []
        content: list[JsonObject] = []
        user_parts: list[JsonObject] = []
        for part in turn.parts:
            if type(part) is Result:
                message, result_parts = self._result(part)
                messages.append(message)
                content += result_parts
            else:
                user_parts += self._parts.write(part)
        content += user_parts
        if content:
            message = {"role": "user", "content": self._content(content)}
            if turn.name:
                message["name"] = turn.name
            messages.append(message)
        return messages

    def assistant(self, turn: Turn) -> list[JsonObject]:
        """No message of a turn that has nothing left to say, such as one of foreign thinking."""
        sorted_parts = self._sort_parts(turn.parts)
        message: JsonObject = {"role": "assistant", "content": None}
        if sorted_parts.refusals and self._profile.family == "openai":
            message["refusal"] = "".join(sorted_parts.refusals)
        else:
            sorted_parts.texts.extend([Text(text=text) for text in sorted_parts.refusals])
        if sorted_parts.texts:
            message["content"] = self._spoken_content(sorted_parts.texts) or None
        if sorted_parts.thoughts:
            message |= self._thinking(sorted_parts.thoughts)
        if sorted_parts.calls:
            message["tool_calls"] = sorted_parts.calls
        if message["content"] is None and len(message) == len(("role", "content")):
            return []
        if turn.name:
            message["name"] = turn.name
        return [message]

    def _sort_parts(self, parts: tuple[Part, ...]) -> _AssistantParts:
        sorted_parts = _AssistantParts([], [], [], [])
        for part in parts:
            if type(part) is Text:
                sorted_parts.texts.append(part)
            elif type(part) is ToolCall:
                sorted_parts.calls.append(self._call(part))
            elif type(part) is Thinking:
                sorted_parts.thoughts.append(part)
            elif type(part) is Refusal:
                sorted_parts.refusals.append(part.text)
            else:
                self._refuse(part)
        return sorted_parts

    def _refuse(self, part: Part) -> None:
        """All but what the provider's search left, of which the text stays."""
        if self._parts.write(part):
            raise unsupported(
                self._report.paths.of(part.at), "it cannot be carried in the assistant's turn"
            )

    def _spoken_content(self, texts: list[Text]) -> str | list[JsonObject]:
        """One text, as a chat model's answer is; in parts only where a mark is to be kept."""
        if len(texts) == 1 and texts[0].cache is None:
            return texts[0].text
        if self._profile.takes_cache_marks and any(text.cache is not None for text in texts):
            return [
                written_text_part(text.text, text.cache, self._profile)
                for text in texts
                if text.text
            ]
        return "".join(text.text for text in texts)

    def _thinking(self, thoughts: list[Thinking]) -> JsonObject:
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
        text = BREAK.join(
            thought.text
            for thought in thoughts
            if thought.text
            and (thought.signature is None or thought.signature.family in (UNSIGNED, family))
        )
        return {member: text} if text else {}

    def _call(self, call: ToolCall) -> JsonObject:
        members: JsonObject = {
            "id": self._call_id(call.id),
            "type": "function",
        }
        name = sent_name(call.name, call.namespace, self._profile.max_name_chars)
        if not call.is_freeform:
            members["function"] = {"name": name, "arguments": call.arguments or "{}"}
        elif self._takes_freeform:
            members["type"] = "custom"
            members["custom"] = {"name": name, "input": call.arguments}
        else:
            arguments = _encode({"input": call.arguments}).decode()
            members["function"] = {"name": name, "arguments": arguments}
        signature = call.signature
        if signature is not None and signature.family == CALL_SIGNATURES == self._profile.family:
            members["extra_content"] = {"google": {"thought_signature": signature.data}}
        return members

    def _result(self, result: Result) -> tuple[JsonObject, list[JsonObject]]:
        """The tool's message, and what of the result is not text, each behind its call's id."""
        texts: list[str] = []
        other_parts: list[JsonObject] = []
        call_id = self._call_id(result.call_id)
        for part in result.parts:
            if type(part) is Text:
                if part.text:
                    texts.append(part.text)
                continue
            for piece in self._parts.write(part):
                if piece["type"] == "text":
                    texts.append(piece["text"])
                    continue
                self._report.adapted(self._report.paths.of(part.at))
                line = f"From the result of tool call {call_id}:"
                other_parts += [written_text_part(line, None, self._profile), piece]
        text = BREAK.join(texts)
        if result.has_failed and not text.startswith(_FAILED):
            text = f"{_FAILED} {text}".rstrip()
        content: str | list[JsonObject] = text
        if result.cache is not None and self._profile.takes_cache_marks and text:
            content = [written_text_part(text, result.cache, self._profile)]
        message = {
            "role": "tool",
            "tool_call_id": call_id,
            "content": content,
        }
        return message, other_parts

    def _call_id(self, call_id: str) -> str:
        family = self._profile.family
        if family == "mistral":
            return short_call_id(call_id)
        return sent_call_id(call_id, is_plain=family == "anthropic")

    def _content(self, parts: list[JsonObject]) -> str | list[JsonObject]:
        if len(parts) == 1 and _is_plain(parts[0]):
            text: str = parts[0]["text"]
            return text
        return parts if self._takes_lists else self._join_texts(parts)

    @staticmethod
    def _join_texts(parts: list[JsonObject]) -> str | list[JsonObject]:
        if all(map(_is_plain, parts)):
            return BREAK.join(part["text"] for part in parts)
        return parts


def _is_plain(part: JsonObject) -> bool:
    """A text without a mark."""
    return part["type"] == "text" and len(part) == len(("type", "text"))


def _block(thought: Thinking, signature: ThoughtSignature) -> JsonObject:
    if thought.is_redacted:
        return {"type": "redacted_thinking", "data": signature.data}
    return {"type": "thinking", "thinking": thought.text, "signature": signature.data}
