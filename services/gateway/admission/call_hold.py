"""A call's hold as the gateway that admits the call knows it; `OpenHold` is its form for Redis."""

import msgspec

from libs.common.errors import RateLimit
from libs.common.storage.queue.event_queue import encode_event
from services.gateway.admission.scopes import BudgetNow
from services.gateway.calls.attempts import Attempts
from services.gateway.calls.call import Call
from services.gateway.calls.event import event_of
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.calls.progress import AnswerProgress

_NO_PROGRESS = AnswerProgress()


class CallHold(msgspec.Struct, frozen=True, kw_only=True):
    """`nusd` are held in each of the `budgets`, which are those of the account and of the key.

    `limits` are the minute's, and `warnings` those of soft limits, as the admission left them.
    """

    call: Call
    priced: PricedRequest
    tags: tuple[str, ...]
    attempts: Attempts
    budgets: list[BudgetNow]
    nusd: int
    limits: tuple[RateLimit, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def user_id(self) -> str:
        return self.call.principal.account.user_id

    def abandoned_event(self) -> bytes:
        """The event that the ledger posts if the gateway never closes the call."""
        event = event_of(
            self.call,
            self.priced.request,
            self.tags,
            self.attempts,
            _NO_PROGRESS,
            "abandoned",
            0,
            held_nusd=self.nusd,
        )
        return encode_event(event)
