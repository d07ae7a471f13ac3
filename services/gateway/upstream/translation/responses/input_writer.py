"""Writes a conversation's turns as the items of a Responses request."""

from collections.abc import Iterable
from typing import Any

import msgspec

from services.gateway.upstream.translation.conversation import Turn
from services.gateway.upstream.translation.names import sent_call_id, sent_name
from services.gateway.upstream.translation.parts import (
    At,
    Hosted,
    Opaque,
    Part,
    Refusal,
    Result,
    Text,
    Thinking,
    ToolCall,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report, uncarried, unsupported
from services.gateway.upstream.translation.responses.content_writer import ContentWriter
from services.gateway.upstream.translation.responses.ids import is_minted
from services.gateway.upstream.translation.responses.paths import PATHS
from services.gateway.upstream.translation.responses.thoughts import FAMILY, written_thought

_Item = dict[str, Any] | msgspec.Raw

_FAILED = "Error: "


class InputWriter:
    def __init__(
        self,
        profile: Profile,
        report: Report,
        added_tools: dict[int, list[dict[str, Any] | msgspec.Raw]],
        *,
        keeps: bool,
    ) -> None:
        self._profile = profile
        self._report = report
        self._is_own = report.paths is PATHS
        # Others that speak the format know functions alone, and no namespaces.
        self._is_openai = profile.family == FAMILY
        self._keeps = keeps
        self._content = ContentWriter(profile, report)
        self._items: list[_Item] = []
        # Tools that items of the input bring along, the earliest last.
        self._added_tools = sorted(added_tools.items(), reverse=True)
        self._freeform_ids: set[str] = set()

    def write(self, turns: Iterable[Turn]) -> list[_Item]:
        for turn in turns:
            if turn.role == "assistant":
                self._assistant(turn)
            elif turn.role == "user":
                self._user(turn)
            else:
                self._system(turn)
        self._add_tools(None)
        return self._items

    def _put(self, at: At, item: _Item) -> None:
        if self._added_tools:
            self._add_tools(at)
        self._items.append(item)

    def _add_tools(self, before: At | None) -> None:
        """Those that stood before the item at this index; all that are left at the end."""
        while self._added_tools and (before is None or (self._added_tools[-1][0],) < before):
            _, tools = self._added_tools.pop()
            self._items.append({"type": "additional_tools", "role": "developer", "tools": tools})

    def _system(self, turn: Turn) -> None:
        role = turn.role
        if not self._is_own:
            role = "developer" if self._is_openai else self._profile.system_word
        self._message(role, turn.parts, turn)

    def _user(self, turn: Turn) -> None:
        parts: list[Part] = []
        for part in turn.parts:
            if type(part) is Result:
                self._message("user", parts, turn)
                parts = []
                self._result(part)
            elif type(part) is Opaque:
                self._message("user", parts, turn)
                parts = []
                self._opaque(part)
            else:
                parts.append(part)
        self._message("user", parts, turn)

    def _message(self, role: str, parts: Iterable[Part], turn: Turn) -> None:
        content = self._content.write(parts)
        if not content:
            return
        message: dict[str, Any] = {"role": role, "content": _plain(content)}
        if turn.phase is not None:
            message["phase"] = turn.phase
        self._put(turn.at, message)

    def _assistant(self, turn: Turn) -> None:
        texts: list[Text | Refusal] = []
        for part in turn.parts:
            kind = type(part)
            if kind is Text or kind is Refusal:
                texts.append(part)  # type: ignore[arg-type]  # as told by its type
                continue
            self._write_texts(texts, turn)
            texts = []
            if type(part) is ToolCall:
                self._call(part)
            elif type(part) is Thinking:
                item = written_thought(part, self._profile, keeps=self._keeps)
                if item is not None:
                    self._put(part.at, item)
            elif type(part) is Hosted:
                self._hosted(part)
            elif type(part) is Opaque:
                self._opaque(part)
            else:
                raise unsupported(self._report.paths.of(part.at))
        self._write_texts(texts, turn)

    def _write_texts(self, texts: list[Text | Refusal], turn: Turn) -> None:
        if not texts:
            return
        content = [self._output(part) for part in texts if part.text]
        if not content:
            return
        only = content[0]
        is_plain = len(content) == 1 and only["type"] == "output_text" and not only["annotations"]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": only["text"] if is_plain else content,
        }
        if not is_plain:
            message["type"] = "message"
        if turn.phase is not None:
            message["phase"] = turn.phase
        self._put(texts[0].at or turn.at, message)

    def _output(self, part: Text | Refusal) -> dict[str, Any]:
        if type(part) is Refusal:
            return {"type": "refusal", "refusal": part.text}
        annotations: Any = []
        if self._is_own and type(part) is Text and part.citations is not None:
            annotations = part.citations
        return {"type": "output_text", "text": part.text, "annotations": annotations}

    def _call(self, call: ToolCall) -> None:
        call_id = sent_call_id(call.id, is_plain=False)
        space = None if self._is_openai else call.namespace
        name = sent_name(call.name, space, self._profile.max_name_chars)
        item: dict[str, Any]
        if call.is_freeform and self._is_openai:
            self._freeform_ids.add(call.id)
            item = {"type": "custom_tool_call", "call_id": call_id, "name": name}
            item["input"] = call.arguments
        else:
            item = {"type": "function_call", "call_id": call_id, "name": name}
            item["arguments"] = (
                _wrap(call.arguments) if call.is_freeform else call.arguments or "{}"
            )
        if call.namespace is not None and self._is_openai:
            item["namespace"] = call.namespace
        is_known = self._is_own and self._is_openai
        if is_known and call.item_id is not None and not is_minted(call.item_id):
            item["id"] = call.item_id
        for name, raw in call.extra.items():
            if not self._is_own:
                raise unsupported(self._report.paths.of(call.at, name))
            item[name] = raw
        self._put(call.at, item)

    def _result(self, result: Result) -> None:
        content = self._content.write(result.parts)
        if result.has_failed:
            content = _with_failure(content)
        content = self._content.marked(content, result.cache)
        is_freeform = result.call_id in self._freeform_ids or (
            result.is_freeform and self._is_openai
        )
        self._put(
            result.at,
            {
                "type": "custom_tool_call_output" if is_freeform else "function_call_output",
                "call_id": sent_call_id(result.call_id, is_plain=False),
                "output": _plain(content) if content else "",
            },
        )

    def _hosted(self, hosted: Hosted) -> None:
        if self._is_own and hosted.family == self._profile.family:
            if hosted.id is None or not is_minted(hosted.id):
                self._put(hosted.at, hosted.raw)
        elif hosted.kind == "web_search":
            # What was found is told by the text after it.
            self._report.adapted(self._report.paths.of(hosted.at))
        else:
            raise uncarried(self._report.paths.of(hosted.at), hosted.kind)

    def _opaque(self, part: Opaque) -> None:
        if not self._is_own or part.family != self._profile.family:
            raise uncarried(self._report.paths.of(part.at), part.kind)
        self._put(part.at, part.raw)


def _plain(content: list[_Item]) -> str | list[_Item]:
    """A single text that nothing is said of is a string."""
    only = content[0]
    if len(content) == 1 and type(only) is dict and len(only) == 2 and "text" in only:
        return str(only["text"])
    return content


def _wrap(text: str) -> str:
    return msgspec.json.encode({"input": text}).decode()


def _with_failure(content: list[_Item]) -> list[_Item]:
    """The format has no word for a tool that failed."""
    for index, part in enumerate(content):
        if isinstance(part, dict) and part["type"] == "input_text":
            if part["text"].startswith(_FAILED):
                return content
            text_part = {**part, "text": _FAILED + part["text"]}
            return [*content[:index], text_part, *content[index + 1 :]]
    return [{"type": "input_text", "text": _FAILED.strip()}, *content]
