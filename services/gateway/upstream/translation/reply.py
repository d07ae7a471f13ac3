"""A provider's answer: whole as a `Reply`, streamed as calls on a `Sink`."""

from typing import Literal, Protocol

import msgspec

from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.names import ToolNames
from services.gateway.upstream.translation.parts import Part, ThoughtSignature

StopKind = Literal[
    "end", "tool", "limit", "window", "sequence", "declined", "blocked", "pause", "malformed"
]


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an answer; `reason` is the provider's own.

    `declined`: the model refused in words. `blocked`: the provider did, with a `category` and an
    `explanation` where it says so. `malformed`: the model's call cannot be read. `extra`: members
    of the answer that only the own family knows, such as Anthropic's `container`.
    """

    kind: StopKind
    reason: str | None = None
    sequence: str | None = None
    category: str | None = None
    explanation: str | None = None
    extra: dict[str, msgspec.Raw] = {}


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. `id`, `model` and `created` (Unix seconds) are the provider's.

    `logprobs` is a list of OpenAI's entries, one for each token. `others` are further answers to
    the same prompt, of chat alone.
    """

    id: str
    model: str
    parts: tuple[Part, ...]
    stop: Stop
    usage: TokenUsage | None = None
    created: int | None = None
    tier: str | None = None
    logprobs: msgspec.Raw | None = None
    fingerprint: str | None = None
    others: "tuple[Reply, ...]" = ()


class ReportedError(msgspec.Struct, frozen=True, kw_only=True):
    """An error that a provider reports in its format: of an answer, or amid a stream.

    `status` is None where only words came.
    """

    message: str
    status: int | None = None
    kind: str | None = None
    code: str | None = None
    param: str | None = None


class Sink(Protocol):
    """The interface that stream readers call; the sequencer and the writers implement it.

    A reader calls in the order of what comes, each part's deltas by `key` where several may be
    under way; the sequencer passes on one part after the other. Nothing follows `stop` but
    `usage`, and nothing `failed`.
    """

    def started(self, answer_id: str, model: str, created: int | None) -> None:
        """Once, before all others."""
        ...

    def text(self, delta: str, logprobs: msgspec.Raw | None = None) -> None: ...

    def refusal(self, delta: str) -> None: ...

    def thinking(self, delta: str, summary: int | None = None) -> None:
        """The thought itself, or the `summary`th part of what is told of it."""
        ...

    def sign(self, signature: ThoughtSignature, call_id: str | None = None) -> None:
        """Of the thinking before it, which it ends; else a redacted thought.

        Or of that call, and before it where it has come by then.
        """
        ...

    def call(self, key: int, call_id: str, name: str, delta: str, is_freeform: bool) -> None:
        """A part of a call's arguments. Id and name come with each; the first begins the call."""
        ...

    def cite(self, citation: msgspec.Raw, family: str) -> None:
        """Of the text before it, as its family writes one."""
        ...

    def hosted(self, kind: str, raw: msgspec.Raw, family: str, at: int) -> None:
        """A whole part that only its family knows, such as a tool call that the provider ran.

        `at` is its index among the answer's parts as the provider counts them.
        """
        ...

    def ended(self) -> None:
        """The open text or thinking is over: more of it would be a part of its own."""
        ...

    def usage(self, usage: TokenUsage) -> None:
        """All usage known so far; a later call replaces it."""
        ...

    def stop(self, stop: Stop) -> None: ...

    def failed(self, failure: ReportedError) -> None: ...


class Writer(Sink, Protocol):
    """Writes a stream in a client's format."""

    def take(self) -> bytes:
        """Whole frames: what has been written since it was last asked; empty for nothing."""
        ...

    def finish(self) -> None:
        """Writes the end: after `stop` and the last `usage`."""
        ...


class Reader(Protocol):
    """Reads a provider's stream into a sink. `done`: its last event has come, or an error.

    `tier` is the service tier that is told so far beside the usage.
    """

    done: bool
    tier: str | None

    def feed(self, frame: bytes) -> None:
        """One whole frame. Raises UpstreamFailed where it cannot be read."""
        ...

    def end(self) -> bool:
        """The stream is over: reports what is left, and whether it was a whole answer."""
        ...


class AnswerContext(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about the call that a writer needs beside its answer.

    `model` is the name to tell the client, `created` the gateway's clock in Unix seconds, `fields`
    the client's own body by its top-level names. `family` is that of the provider, and `parts` what
    its format calls the list of an answer's parts. `omitted` are paths of those that the client's
    format has no word for.
    """

    request: Request
    fields: dict[str, msgspec.Raw]
    model: str
    created: int
    family: str
    names: ToolNames
    parts: str = "content"
    omitted: list[str] = []
