"""The functions that each format implements, pure except for their sink."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.parts import Family
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Paths, Report
from services.gateway.upstream.translation.reply import (
    AnswerContext,
    Reader,
    Reply,
    ReportedError,
    Sink,
    Writer,
)


class Language(msgspec.Struct, frozen=True, kw_only=True):
    """A format in both directions: a row of the engine's table.

    `closest` are the formats that a target may be asked in for a client of this one, the closest
    first. Its own is one where the target's bytes differ in more than the format says. `parts` is
    what the format calls the list of an answer's parts.

    `family` is the one whose signatures the format shows bare; the one that a function is given is
    the provider's.

    `read_request` reads a client's body by its top-level names. It raises InvalidRequest, which
    names the path. `write_request` writes the body for a provider's model, after the mender. It
    raises UnsupportedField for what it has no word for; the report notes what was left out or
    weakened. `read_answer` gives a Failure where an answer 200 holds an error, and raises
    UpstreamFailed for one that it cannot read. `read_error` is for answers that are not 2xx, of any
    body. `reader` reads a provider's stream, `writer` writes a client's.
    """

    name: ClientFormat
    family: Family
    paths: Paths
    closest: tuple[ClientFormat, ...]
    parts: str
    read_request: Callable[[Mapping[str, msgspec.Raw]], Request]
    write_request: Callable[[Request, str, Profile, Report], dict[str, Any]]
    read_answer: Callable[[bytes, Family], Reply | ReportedError]
    write_answer: Callable[[Reply, AnswerContext], bytes]
    read_error: Callable[[int, bytes], ReportedError]
    reader: Callable[[Sink, Family], Reader]
    writer: Callable[[AnswerContext], Writer]
