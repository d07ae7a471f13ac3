"""`/admin/ledger/dead-letters`: lists and replays deliveries that could not be posted."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import FieldError, NotFound, Unavailable, ValidationFailed
from libs.common.storage.mongo.dead_letters import DeadLetter, LetterKind
from libs.common.storage.queue.replay import enqueue_letters
from libs.common.storage.redis.client import RedisError
from services.admin.endpoints import Answer
from services.admin.pages import Page, PageQuery
from services.admin.state import State

_PAGE = 100
# Letters that one request replays; `remaining` counts the rest.
_MAX_REPLAYED = 1_000
# A larger letter is shown without its content.
_MAX_SHOWN_BYTES = 16 * 1024

LetterId = Annotated[str, Meta(min_length=1, max_length=256)]


class LetterQuery(PageQuery, frozen=True, kw_only=True):
    """`replayed` letters are on the queue again, and are kept until their content is posted."""

    state: Literal["waiting", "replayed"] = "waiting"
    sort: Literal["letter_id", "-letter_id"] = "letter_id"


class LetterView(msgspec.Struct, frozen=True, kw_only=True):
    """`content` is the decoded letter, null unless it is msgpack that JSON can represent."""

    letter_id: str
    kind: LetterKind
    reason: str
    job_id: str
    buried_at: datetime
    size: int
    times: int
    call_id: str | None
    user_id: str | None
    replayed_at: datetime | None
    cut_off: bool
    content: Any


class Letters(Page[LetterView], frozen=True, kw_only=True):
    """`count` is that of all letters that wait."""

    count: int


class ReplayBody(msgspec.Struct, frozen=True, kw_only=True):
    """Either `ids` or `all`."""

    ids: Annotated[tuple[LetterId, ...], Meta(min_length=1, max_length=100)] | None = None
    all: bool = False


class ReplayView(msgspec.Struct, frozen=True, kw_only=True):
    """`cut_off` letters have lost their end, and stay; `remaining` wait."""

    replayed: int
    cut_off: int
    remaining: int


async def list_letters(request: Request[State], query: LetterQuery) -> Answer[Letters]:
    letters = request.state["dead_letters"]
    reading = query.reading("letter_id", query.sort)
    found = await letters.slice(reading.slice, replayed=query.state == "replayed")
    page = reading.page(found, [_view(letter) for letter in found.rows])
    return Answer(Letters(**msgspec.structs.asdict(page), count=await letters.count()))


async def replay_letters(request: Request[State], body: ReplayBody) -> Answer[ReplayView]:
    """202: the letters are on the queue again. A delivery that fails again is a letter again."""
    state = request.state
    now = state["now"]()
    if (body.ids is None) == (not body.all):
        raise ValidationFailed([FieldError("ids", "must be given, or all must be true; not both")])
    letters, redis = state["dead_letters"], state["redis"]
    replayed, cut_off = 0, 0
    try:
        if body.ids is not None:
            found = await letters.get_many(set(body.ids))
            missing = set(body.ids) - {letter.letter_id for letter in found}
            if missing:
                message = f"There is no dead letter '{min(missing)[:128]}'. No letter was replayed."
                raise NotFound(message, param="ids")
            replayed = await enqueue_letters(found, letters, redis, now)
            cut_off = len(found) - replayed
        else:
            after = None
            while replayed + cut_off < _MAX_REPLAYED:
                page = await letters.list(after=after, limit=_PAGE)
                put_back = await enqueue_letters(page, letters, redis, now)
                replayed, cut_off = replayed + put_back, cut_off + len(page) - put_back
                if len(page) < _PAGE:
                    break
                after = page[-1].letter_id
    except (RedisError, OSError) as error:
        message = (
            "Redis does not answer. Some letters may be on the queue already; repeat the request."
        )
        raise Unavailable(message, retry_after_s=2) from error
    remaining = await letters.count()
    return Answer(ReplayView(replayed=replayed, cut_off=cut_off, remaining=remaining))


def _view(letter: DeadLetter) -> LetterView:
    fields = msgspec.structs.asdict(letter)
    del fields["raw"]
    return LetterView(**fields, cut_off=letter.size > len(letter.raw), content=_content(letter.raw))


def _content(raw: bytes) -> Any:
    if len(raw) > _MAX_SHOWN_BYTES:
        return None
    try:
        value = msgspec.msgpack.decode(raw)
        return msgspec.Raw(msgspec.json.encode(value))
    except (*UNREADABLE, TypeError):
        return None
