"""Message threads: a conversation is stored under the id of its last answer.

As at the provider, any credential may continue any thread.
"""

from collections import OrderedDict

import msgspec

from deploy.local.provider.answers import Ask, ScriptedAnswer
from deploy.local.provider.wire import RequestRefused

_KEPT = 10_000


class _Thread(msgspec.Struct, frozen=True):
    characters: int
    has_tools: bool


class Threads:
    """A bounded number of threads; the oldest are dropped."""

    def __init__(self) -> None:
        self._threads: OrderedDict[str, _Thread] = OrderedDict()

    def resume(self, ask: Ask) -> Ask:
        """Adds the thread's content to the request. Raises RequestRefused for an unknown thread."""
        if ask.continues is None:
            return ask
        thread = self._threads.get(ask.continues)
        if thread is None:
            raise RequestRefused(404, f"thread.previous_message_id: {ask.continues} not found")
        return msgspec.structs.replace(
            ask,
            characters=ask.characters + thread.characters,
            has_tools=thread.has_tools,
            may_call_tools=thread.has_tools and ask.ends_with_user,
        )

    def keep(self, message_id: str, ask: Ask, answer: ScriptedAnswer) -> None:
        """Stores the thread under the answer's id if the request asks for it."""
        if not ask.in_thread:
            return
        characters = ask.characters + len(answer.whole)
        self._threads[message_id] = _Thread(characters, ask.has_tools)
        while len(self._threads) > _KEPT:
            self._threads.popitem(last=False)
