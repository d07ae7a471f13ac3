"""The text of a call, for keys that record."""

from datetime import datetime

import msgspec

from libs.common.schemas.usage import ClientFormat

MAX_RETENTION_DAYS = 365


class RecordingTerms(msgspec.Struct, frozen=True, kw_only=True):
    """A key's: its calls are recorded, and each recording is removed after so many days."""

    retention_days: int


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a call, without secrets. `size` is that of the bytes on the wire.

    `truncated`: the end is missing. A list leaves the `text` empty.
    """

    text: str = ""
    size: int
    truncated: bool = False


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """The body that the client sent and the answer that it got; a ledger entry has the same id.

    A call that was refused before its body was read has an empty `request`. `http_status` is None
    where nothing was answered.
    """

    v: int = 1
    call_id: str
    user_id: str
    key_id: str
    format: ClientFormat
    model: str | None
    started_at: datetime
    stream: bool
    http_status: int | None
    request: Transcript
    answer: Transcript
    expires_at: datetime

    @property
    def revision(self) -> str:
        """It never changes."""
        return self.call_id
