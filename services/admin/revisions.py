"""`ETag` and `If-Match`: a change never overwrites a change that its author has not seen.

Every change gives its object a new revision, and is stored only over the revision that it was
computed from. A request without `If-Match` is computed again where another one came first.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from starlette.requests import Request

from libs.common.errors import Conflict, PreconditionFailed
from services.admin.state import State

_TRIES = 5
# Objects that were stored before they had revisions.
_NONE = "0"


class Revised(Protocol):
    @property
    def revision(self) -> str: ...


R = TypeVar("R", bound=Revised)


def etag_of(revised: Revised) -> dict[str, str]:
    """The header."""
    return {"etag": f'"{revised.revision or _NONE}"'}


def check_match(request: Request[State], revised: Revised) -> None:
    """Raises PreconditionFailed where `If-Match` names other revisions. Weak ones never match."""
    # Several fields of the name are one list.
    etags = ",".join(request.headers.getlist("if-match"))
    if not etags or etags.strip() == "*":
        return
    if etag_of(revised)["etag"] not in [tag.strip() for tag in etags.split(",")]:
        raise PreconditionFailed(
            "It has changed since the answer whose ETag is in If-Match. Read it again and repeat "
            "the change with its new ETag."
        )


async def changed(
    request: Request[State],
    find: Callable[[], Awaitable[R]],
    change: Callable[[R], Awaitable[R | None]],
) -> R:
    """`change` returns None if the stored object is no longer the one that it was given.

    Raises what they raise, PreconditionFailed, and Conflict where others kept coming first.
    """
    for _ in range(_TRIES):
        before = await find()
        check_match(request, before)
        see_before = request.scope.get("see_before")
        if see_before is not None:
            # The audit log has what the change is made over, not what was read a moment earlier.
            await see_before(etag_of(before)["etag"])
        after = await change(before)
        if after is not None:
            return after
    raise Conflict(
        "It is being changed by others at the same time. Read it, and repeat the change."
    )
