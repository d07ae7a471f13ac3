"""OpenAI Chat Completions, in both directions, as OpenAI and the many others speak it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.chat.answer_reader import read_answer
from services.gateway.upstream.translation.chat.answer_writer import write_answer
from services.gateway.upstream.translation.chat.errors import read_error
from services.gateway.upstream.translation.chat.family import SEALS
from services.gateway.upstream.translation.chat.paths import PATHS
from services.gateway.upstream.translation.chat.request_reader import read_request
from services.gateway.upstream.translation.chat.request_writer import write_request
from services.gateway.upstream.translation.chat.stream_reader import StreamReader
from services.gateway.upstream.translation.chat.stream_writer import StreamWriter
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


class ChatLanguage:
    name: ClientFormat = "chat"
    family: Family = SEALS
    paths: Paths = PATHS

    def read_request(self, fields: Mapping[str, msgspec.Raw]) -> Request:
        return read_request(fields)

    def write_request(
        self, request: Request, model: str, profile: Profile, report: Report
    ) -> dict[str, Any]:
        return write_request(request, model, profile, report)

    def read_answer(self, body: bytes, family: Family) -> Reply | Failure:
        return read_answer(body)

    def write_answer(self, reply: Reply, context: AnswerContext) -> bytes:
        return write_answer(reply, context)

    def read_error(self, status: int, body: bytes) -> Failure:
        return read_error(status, body)

    def reader(self, sink: Sink, family: Family) -> Reader:
        return StreamReader(sink)

    def writer(self, context: AnswerContext) -> Writer:
        return StreamWriter(context)


CHAT = ChatLanguage()
