"""Anthropic's Messages."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.conversation import Family, Request
from services.gateway.upstream.translation.messages.family import FAMILY, PATHS
from services.gateway.upstream.translation.messages.request_reader import read_request
from services.gateway.upstream.translation.messages.request_writer import write_request
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Paths, Report


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


MESSAGES = MessagesLanguage()
