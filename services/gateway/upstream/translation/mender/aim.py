"""The target that a rule mends a request for."""

import msgspec

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report


class Aim(msgspec.Struct, frozen=True):
    """The target, the format of the call, and the report of changes."""

    profile: Profile
    report: Report
    to: ClientFormat

    @property
    def is_claude(self) -> bool:
        return self.profile.family == "anthropic"

    @property
    def is_openai(self) -> bool:
        return self.profile.family == "openai"

    @property
    def client(self) -> ClientFormat:
        """The client's format."""
        return self.report.paths.format

    @property
    def from_messages(self) -> bool:
        return self.client == "messages"

    def adapted(self, field: str) -> None:
        self.report.adapted(self.report.paths.field(field))

    def unsupported(self, field: str, why: str) -> None:
        """Raises UnsupportedField, or notes what is left out."""
        self.report.unsupported(self.report.paths.field(field), why)
