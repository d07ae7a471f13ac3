"""What each format implements: six functions, all pure but for their sink."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.conversation import Family, Request
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Paths, Report
from services.gateway.upstream.translation.reply import (
    AnswerContext,
    Failure,
    Reader,
    Reply,
    Sink,
    Writer,
)


class Language(Protocol):
    """A format in both directions; a frozen row of the engine's table.

    `family` is the one whose seals the format shows bare.
    """

    name: ClientFormat
    family: Family
    paths: Paths

    def read_request(self, fields: Mapping[str, msgspec.Raw]) -> Request:
        """From a client's body by top-level names. Raises InvalidRequest, which names the path."""
        ...

    def write_request(
        self, request: Request, model: str, profile: Profile, report: Report
    ) -> dict[str, Any]:
        """The body for a provider, after the mender. Raises UnsupportedField for what it has no
        word for; `report` notes what was left out or weakened.
        """
        ...

    def read_answer(self, body: bytes, family: Family) -> Reply | Failure:
        """A Failure where an answer 200 holds an error. Raises UpstreamFailed if unreadable."""
        ...

    def write_answer(self, reply: Reply, context: AnswerContext) -> bytes: ...

    def read_error(self, status: int, body: bytes) -> Failure:
        """Of an answer that is no 2xx; any body, JSON or not."""
        ...

    def reader(self, sink: Sink, family: Family) -> Reader:
        """Of a provider's stream."""
        ...

    def writer(self, context: AnswerContext) -> Writer:
        """Of a client's stream."""
        ...
