"""Anthropic's Messages."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.conversation import Family, Request
from services.gateway.upstream.translation.language import Language
from services.gateway.upstream.translation.messages.answer_reader import read_answer
from services.gateway.upstream.translation.messages.answer_writer import write_answer
from services.gateway.upstream.translation.messages.errors import read_error
from services.gateway.upstream.translation.messages.family import FAMILY, PATHS
from services.gateway.upstream.translation.messages.request_reader import read_request
from services.gateway.upstream.translation.messages.request_writer import write_request
from services.gateway.upstream.translation.messages.stream_reader import MessagesStreamReader
from services.gateway.upstream.translation.messages.stream_writer import MessagesStreamWriter
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


class MessagesLanguage:
    name: ClientFormat = "messages"
    family: Family = FAMILY
    paths: Paths = PATHS

    def read_request(self, fields: Mapping[str, msgspec.Raw]) -> Request:
        return read_request(fields)

    def write_request(
        self, request: Request, model: str, profile: Profile, report: Report
    ) -> dict[str, Any]:
        return write_request(request, model, profile, report)

    def read_answer(self, body: bytes, family: Family) -> Reply | Failure:
        return read_answer(body, family)

    def write_answer(self, reply: Reply, context: AnswerContext) -> bytes:
        return write_answer(reply, context)

    def read_error(self, status: int, body: bytes) -> Failure:
        return read_error(status, body)

    def reader(self, sink: Sink, family: Family) -> Reader:
        return MessagesStreamReader(sink, family)

    def writer(self, context: AnswerContext) -> Writer:
        return MessagesStreamWriter(context)


MESSAGES: Language = MessagesLanguage()
