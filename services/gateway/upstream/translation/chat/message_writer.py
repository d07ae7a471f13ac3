"""Writes turns as a chat body's messages."""

import msgspec

from services.gateway.upstream.translation.chat.family import CALL_SEALS, SEALS
from services.gateway.upstream.translation.chat.part_writer import (
    BREAK,
    PartWriter,
    Written,
    text_part,
)
from services.gateway.upstream.translation.conversation import (
    Call,
    Part,
    Refusal,
    Result,
    Seal,
    Text,
    Thinking,
    Turn,
)
from services.gateway.upstream.translation.names import sent_call_id, sent_name
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report, unsupported
from services.gateway.upstream.translation.seals import UNSIGNED

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
    """OpenAI's models alone are made for tools whose input is no JSON."""
    return profile.family == "openai"


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
        said: list[Text] = []
        refusals: list[str] = []
        calls: list[Written] = []
        for part in turn.parts:
            if type(part) is Text:
                said.append(part)
            elif type(part) is Refusal:
                refusals.append(part.text)
            elif type(part) is Call:
                calls.append(self._call(part))
            elif type(part) is not Thinking and self._parts.write(part):
                raise unsupported(
                    self._report.paths.of(part.at), "it cannot be carried in the assistant's turn"
                )
        if refusals and self._profile.family != "openai":
            said += [Text(text=text) for text in refusals]
            refusals = []
        content = self._spoken(said)
        message: Written = {"role": "assistant", "content": content or None}
        if refusals:
            message["refusal"] = "".join(refusals)
        if turn.name:
            message["name"] = turn.name
        message |= self._thinking(turn.parts)
        if calls:
            message["tool_calls"] = calls
        return [message] if content or len(message) > 2 + bool(turn.name) else []

    def _spoken(self, said: list[Text]) -> str | list[Written]:
        """One text, as a chat model's answer is; in parts only where a mark is to be kept."""
        if self._profile.takes_cache_marks and any(text.cache is not None for text in said):
            return [text_part(text.text, text.cache, self._profile) for text in said if text.text]
        return "".join(text.text for text in said)

    def _thinking(self, parts: tuple[Part, ...]) -> Written:
        """In the member where the target wants it, with its seals or of itself."""
        family, member = self._profile.family, self._profile.replays_thinking
        thoughts = [part for part in parts if type(part) is Thinking]
        if not thoughts:
            return {}
        if family == SEALS:
            blocks = [
                _block(thought, thought.seal)
                for thought in thoughts
                if thought.seal is not None and thought.seal.family == SEALS
            ]
            return {"thinking_blocks": blocks} if blocks else {}
        if member is None:
            return {}
        own = BREAK.join(
            thought.text
            for thought in thoughts
            if thought.text and (thought.seal is None or thought.seal.family in (UNSIGNED, family))
        )
        return {member: own} if own else {}

    def _call(self, call: Call) -> Written:
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
        seal = call.seal
        if seal is not None and seal.family == CALL_SEALS == self._profile.family:
            written["extra_content"] = {"google": {"thought_signature": seal.data}}
        return written

    def _result(self, result: Result) -> tuple[Written, list[Written]]:
        """The tool's message, and what of the result is no text, each behind its call's id."""
        texts: list[str] = []
        others: list[Written] = []
        for part in result.parts:
            for written in self._parts.write(part):
                if written["type"] == "text":
                    texts.append(written["text"])
                    continue
                self._report.adapted(self._report.paths.of(part.at))
                line = f"From the result of tool call {self._call_id(result.call_id)}:"
                others += [text_part(line, None, self._profile), written]
        text = BREAK.join(texts)
        if result.has_failed and not text.startswith(_FAILED):
            text = f"{_FAILED} {text}".rstrip()
        content: str | list[Written] = text
        if result.cache is not None and self._profile.takes_cache_marks and text:
            content = [text_part(text, result.cache, self._profile)]
        message = {
            "role": "tool",
            "tool_call_id": self._call_id(result.call_id),
            "content": content,
        }
        return message, others

    def _call_id(self, call_id: str) -> str:
        return sent_call_id(call_id, is_plain=self._profile.family == "anthropic")

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


def _block(thought: Thinking, seal: Seal) -> Written:
    if thought.is_redacted:
        return {"type": "redacted_thinking", "data": seal.data}
    return {"type": "thinking", "thinking": thought.text, "signature": seal.data}
