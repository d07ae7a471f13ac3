"""One call's translation to one deployment: pure, so that the same call gives the same body."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import msgspec

from libs.common.errors import UnsupportedField
from libs.common.schemas.usage import ClientFormat
from services.gateway.calls.headers import Header
from services.gateway.upstream.headers import changed_headers
from services.gateway.upstream.translation.chat import CHAT
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.language import Language
from services.gateway.upstream.translation.mender import mend
from services.gateway.upstream.translation.messages import MESSAGES
from services.gateway.upstream.translation.names import tool_names
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.reply import AnswerContext
from services.gateway.upstream.translation.responses import RESPONSES

LANGUAGES: dict[ClientFormat, Language] = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
}


class ClientCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call as its client made it: the body by top-level names, in its format.

    `model` is the name that the answer tells, `created` the gateway's clock in Unix seconds.
    """

    client: ClientFormat
    fields: dict[str, msgspec.Raw]
    model: str
    created: int
    call_id: str


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """A call as its deployment gets it, in `format`, and what its answer has to be told by.

    `mended_request` is the conversation as mended for the target; `fields` are written from it.
    """

    client: Language
    target: Language
    mended_request: Request
    fields: dict[str, Any]
    context: AnswerContext
    report: Report
    call_id: str

    @property
    def format(self) -> ClientFormat:
        return self.target.name

    @property
    def headers(self) -> list[Header]:
        report, omitted = self.report, self.context.omitted
        if not (report.has_changed or omitted):
            return []
        return changed_headers(report.dropped_params, report.adapted_params, omitted)

    def without(self, names: Iterable[str]) -> dict[str, Any]:
        """The fields but for those names, which the target turns out not to know.

        Raises UnsupportedField by the client's name, unless the route drops such fields.
        """
        fields = {word: field for field, word in reversed(tuple(self.target.paths.fields.items()))}
        remaining = dict(self.fields)
        for name in names:
            self.report.unsupported(self.report.paths.field(fields.get(name, name)))
            remaining.pop(name, None)
        return remaining


def translate(
    call: ClientCall, model: str, profile: Profile, formats: Sequence[ClientFormat], *, drops: bool
) -> Translation:
    """In the first of the target's `formats` that carries all of the call.

    Raises InvalidRequest for the client's own mistakes, and UnsupportedField, which names what
    none of the formats can carry.
    """
    client = LANGUAGES[call.client]
    request = client.read_request(call.fields)
    refusal: UnsupportedField | None = None
    best: tuple[Translation, int] | None = None
    for name in formats:
        try:
            found, dropped = _translate(call, request, LANGUAGES[name], model, profile, drops)
        except UnsupportedField as error:
            refusal = refusal or error
            continue
        if not dropped:
            return found
        if best is None or dropped < best[1]:
            best = found, dropped
    if best is not None:
        return best[0]
    raise refusal or UnsupportedField(
        "model: the model's provider speaks no format that this call can be translated to.",
        param="model",
    )


@cache
def closest(client: ClientFormat, formats: tuple[ClientFormat, ...]) -> tuple[ClientFormat, ...]:
    """Those formats that a call can be translated to, the closest first."""
    language = LANGUAGES.get(client)
    return () if language is None else tuple(name for name in language.closest if name in formats)


def _translate(
    call: ClientCall, request: Request, target: Language, model: str, profile: Profile, drops: bool
) -> tuple[Translation, int]:
    client = LANGUAGES[call.client]
    report = Report(client.paths.of_body(call.fields), drops=drops)
    names = tool_names(request, profile.max_name_chars, client.paths)
    mended_request = mend(request, profile, report, target.name)
    fields = target.write_request(mended_request, model, profile, report)
    context = AnswerContext(
        request=request,
        fields=call.fields,
        model=call.model,
        created=call.created,
        family=profile.family,
        names=names,
        parts=target.parts,
    )
    translation = Translation(
        client=client,
        target=target,
        mended_request=mended_request,
        fields=fields,
        context=context,
        report=report,
        call_id=call.call_id,
    )
    return translation, len(report.dropped_params)
