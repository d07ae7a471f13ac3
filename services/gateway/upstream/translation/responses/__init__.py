"""OpenAI Responses, in both directions."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.conversation import Family, Request
from services.gateway.upstream.translation.language import Language
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
from services.gateway.upstream.translation.responses.answer_reader import read_answer
from services.gateway.upstream.translation.responses.answer_writer import write_answer
from services.gateway.upstream.translation.responses.errors import read_error
from services.gateway.upstream.translation.responses.paths import PATHS
from services.gateway.upstream.translation.responses.request_reader import read_request
from services.gateway.upstream.translation.responses.request_writer import write_request
from services.gateway.upstream.translation.responses.stream_reader import StreamReader
from services.gateway.upstream.translation.responses.stream_writer import StreamWriter


class ResponsesLanguage:
    name: ClientFormat = "responses"
    family: Family = "openai"
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
        return StreamReader(sink, family)

    def writer(self, context: AnswerContext) -> Writer:
        return StreamWriter(context)


RESPONSES: Language = ResponsesLanguage()
