"""Wraps every endpoint: records each write before it is done, and its outcome afterwards.

So no handler can forget it, and a process that dies in between leaves the intent, which shows that
the outcome is not known.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.ids import ADMIN_SECRET_PREFIX, is_key_id
from libs.common.errors import AppError, Forbidden, Unavailable
from libs.common.schemas.audit import AuditRecord
from libs.common.storage.mongo.driver import PyMongoError
from services.admin.audit.contents import kept_answer, kept_body
from services.admin.endpoints import Around, Endpoint, EndpointCall, Next, Served
from services.admin.people.actor import actor_of
from services.admin.state import State
from services.admin.validation import NoQuery
from services.admin.wrong_keys import WrongKeys

log = structlog.get_logger(__name__)

# The text of calls must not be stored twice.
_PRIVATE = frozenset({"recordings"})
_MAX_OBJECT = 256


def with_audit(endpoints: Sequence[Endpoint]) -> Around:
    """A write's object before the change is the answer of the path's own GET."""
    readers = {
        endpoint.path: endpoint
        for endpoint in endpoints
        if endpoint.method == "GET" and "{" in endpoint.path and endpoint.tag not in _PRIVATE
    }

    async def audited(call: EndpointCall, following: Next) -> Served:
        if call.endpoint.role is None or not call.endpoint.is_write:
            return await following(call)
        path = call.endpoint.path
        # A verb below an object, such as rotate, is about that object.
        reader = readers.get(path) or readers.get(path.rpartition("/")[0])
        writing = _Writing(call, reader)
        await writing.begin()
        try:
            result = await following(call)
        except Exception as error:
            await writing.fail(error)
            raise
        await writing.succeed(result)
        return result

    return audited


def with_refusals(clock: Callable[[], float]) -> Around:
    """Records forbidden attempts, a bounded number per actor and minute."""
    counts = WrongKeys(clock)

    async def watched(call: EndpointCall, following: Next) -> Served:
        try:
            return await following(call)
        except Forbidden as error:
            # A write that had begun has its own outcome.
            if not call.request.scope.get("audited"):
                await _refuse(call, error, counts)
            raise

    return watched


async def _refuse(call: EndpointCall, error: Forbidden, counts: WrongKeys) -> None:
    if counts.count(actor_of(call.request).id).wait_s is not None:
        return
    record = msgspec.structs.replace(
        _record(call), phase="refusal", status=error.status, code=error.code
    )
    trail = call.request.state["audit"]
    try:
        await trail.note_head(await trail.add(record))
    except Unavailable:
        log.exception("audit.refusal_lost", actor=record.actor, action=record.action)


class _Writing:
    """One write: its intent, and what is known of its object before and after."""

    def __init__(self, call: EndpointCall, reader: Endpoint | None) -> None:
        self._call = call
        self._reader = reader
        self._trail = call.request.state["audit"]
        self._etag: str | None = None
        self._intent = _record(call)

    async def begin(self) -> None:
        """Raises Unavailable if the intent cannot be recorded; the write is then not done."""
        scope = self._call.request.scope
        before = await self._read()
        self._intent = await self._trail.add(
            msgspec.structs.replace(
                self._intent,
                asked=kept_body(self._call.content),
                before=before,
            )
        )
        scope["audited"] = True
        scope["see_before"] = self._see

    async def succeed(self, result: Served) -> None:
        if isinstance(result, Response):
            await self._end(result.status_code, None, None)
            return
        status = self._call.endpoint.statuses[0] if result.status is None else result.status
        await self._end(status, None, result.content)

    async def fail(self, error: Exception) -> None:
        match error:
            case AppError():
                await self._end(error.status, error.code, None)
            case PyMongoError():
                await self._end(Unavailable.status, Unavailable.code, None)
            case _:
                await self._end(AppError.status, AppError.code, None)

    async def _end(self, status: int, code: str | None, content: Any) -> None:
        intent = self._intent
        outcome = msgspec.structs.replace(
            intent,
            phase="outcome",
            intent=intent.seq,
            at=self._call.request.state["now"](),
            object=_id_in(content) or intent.object,
            status=status,
            code=code,
            after=None if content is None else kept_answer(content),
        )
        try:
            await self._trail.note_head(await self._trail.add(outcome))
        except Unavailable:
            # The write may or may not be done; its lone intent shows that the log does not know.
            log.exception("audit.outcome_lost", intent=intent.seq, status=status, code=code)

    async def _see(self, etag: str) -> None:
        """The change is made over this state, which may be later than the one that was read."""
        if etag != self._etag:
            self._intent = msgspec.structs.replace(self._intent, before=await self._read())

    async def _read(self) -> str | None:
        if self._reader is None:
            return None
        request = self._call.request
        reading = Request[State](
            {**request.scope, "method": "GET", "query_string": b"", "headers": []}, request.receive
        )
        arguments = {} if self._reader.query is NoQuery else {"query": self._reader.query()}
        try:
            result = await self._reader.handler(reading, **arguments)
        except (AppError, *UNREADABLE):
            # The write itself reports the problem with its object.
            return None
        if isinstance(result, Response):
            return None
        self._etag = result.headers.get("etag")
        object_id = _id_in(result.content)
        if object_id is not None:
            self._intent = msgspec.structs.replace(self._intent, object=object_id)
        return kept_answer(result.content)


def _record(call: EndpointCall) -> AuditRecord:
    """The intent of a call, without its object."""
    request, endpoint, actor = call.request, call.endpoint, actor_of(call.request)
    return AuditRecord(
        seq=0,
        phase="intent",
        intent=None,
        at=request.state["now"](),
        actor=actor.id,
        actor_name=actor.name,
        role=actor.role,
        action=endpoint.handler.__name__,
        kind=endpoint.tag,
        object=_object_of(request),
        address="unknown" if request.client is None else request.client.host,
        request_id=request.scope["request_id"],
    )


def _object_of(request: Request[State]) -> str | None:
    """The object that the path names, which may be a secret."""
    for parameter, value in request.path_params.items():
        # A key of a client may be named by its secret, which has any form.
        is_secret = not is_key_id(value) if parameter == "api_key" else _is_admin_secret(value)
        if not is_secret:
            return str(value)[:_MAX_OBJECT]
    return None


def _is_admin_secret(value: object) -> bool:
    return str(value).startswith(ADMIN_SECRET_PREFIX)


def _id_in(content: Any) -> str | None:
    """The id of the answer's object: its first field that is an id."""
    if isinstance(content, msgspec.Struct):
        content = msgspec.structs.asdict(content)
    if not isinstance(content, Mapping):
        return None
    names = [name for name in content if name.endswith("_id")] or ["model"]
    object_id = content.get(names[0])
    return object_id[:_MAX_OBJECT] if isinstance(object_id, str) else None
