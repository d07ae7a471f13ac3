"""Writes turns as Anthropic's `system` and `messages`.

Only system messages inside the conversation, and results, which come first in their turn, are
moved: so a longer conversation begins with the bytes of the shorter one.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from services.gateway.upstream.translation.conversation import Turn
from services.gateway.upstream.translation.messages.block_writer import BlockWriter
from services.gateway.upstream.translation.parts import (
    At,
    Part,
    Result,
    Text,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report, unsupported

Block = dict[str, Any]

_SYSTEM_ROLES = ("system", "developer")


class TurnWriter:
    """`report` and `profile` are those of the call; raises UnsupportedField by the path."""

    def __init__(self, profile: Profile, report: Report) -> None:
        self._profile = profile
        self._report = report
        self._blocks = BlockWriter(profile, report)

    def write(self, turns: Sequence[Turn]) -> tuple[list[Any], list[dict[str, Any]]]:
        """The blocks of `system`, and `messages`."""
        inside = 0
        system: list[Any] = []
        while inside < len(turns) and turns[inside].role in _SYSTEM_ROLES:
            system += self._system_blocks(turns[inside])
            inside += 1
        messages = self._messages(turns[inside:])
        if turns and messages and messages[-1]["role"] == "assistant":
            self._end_prefill(messages[-1]["content"], turns[-1])
        return system, messages

    def _messages(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        system_turns: list[Turn] = []
        for turn in turns:
            if turn.role in _SYSTEM_ROLES:
                system_turns.append(turn)
                continue
            content = self._content(turn)
            if not content:
                continue
            if system_turns and self._may_stand_before(turn):
                messages += self._system_messages(system_turns)
                system_turns = []
            messages.append({"role": turn.role, "content": content})
        if system_turns:
            messages += self._system_messages(system_turns)
        return messages

    def _content(self, turn: Turn) -> list[Any]:
        blocks: list[Any] = []
        results = 0
        for part in turn.parts:
            block = self._blocks.write(part)
            if block is None:
                continue
            if type(part) is Result:
                blocks.insert(results, block)
                results += 1
            else:
                blocks.append(block)
        return blocks

    def _may_stand_before(self, turn: Turn) -> bool:
        """System messages stand before an assistant's turn, their substitutes not before results,
        which have to follow their calls at once.
        """
        if self._profile.takes_system_inside:
            return turn.role == "assistant"
        return not any(type(part) is Result for part in turn.parts)

    def _system_messages(self, turns: Sequence[Turn]) -> Iterator[dict[str, Any]]:
        if self._profile.takes_system_inside:
            blocks = [block for turn in turns for block in self._system_blocks(turn)]
            if blocks:
                yield {"role": "system", "content": blocks}
            return
        for turn in turns:
            blocks = [_reminder(block) for block in self._system_blocks(turn)]
            if blocks:
                self._report.adapted(self._report.paths.of(turn.at))
                yield {"role": "user", "content": blocks}

    def _system_blocks(self, turn: Turn) -> Iterator[Any]:
        for part in turn.parts:
            if type(part) is not Text:
                raise self._no_system(part)
            block = self._blocks.write(part)
            if block is not None:
                yield block

    def _no_system(self, part: Part) -> Exception:
        kind = type(part).__name__.lower()
        why = f"the model's provider accepts only text in system messages, not a {kind}"
        return unsupported(self._path(part.at), why)

    def _end_prefill(self, content: list[Any], turn: Turn) -> None:
        """An answer goes on from the last text, where the model can; never from blanks."""
        last = content[-1]
        if type(last) is not dict or last["type"] != "text":
            return
        if not self._profile.takes_prefill:
            why = "the model does not continue an assistant message: end with a user message"
            raise unsupported(self._path(turn.at), why)
        last["text"] = last["text"].rstrip()

    def _path(self, at: At) -> str:
        return self._report.paths.of(at)


def _reminder(block: Block) -> Block:
    return block | {"text": f"<system-reminder>\n{block['text']}\n</system-reminder>"}
