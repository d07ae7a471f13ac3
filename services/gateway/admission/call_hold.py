"""A call's hold as the gateway that admits the call knows it; `OpenHold` is its form for Redis."""

import msgspec

from libs.common.errors import RateLimit
from libs.common.storage.queue.event_queue import encode_event
from services.gateway.admission.scopes import BudgetNow
from services.gateway.calls.call import Call
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.calls.principal import Principal


class CallHold(msgspec.Struct, frozen=True, kw_only=True):
    """`nusd` are held in each of the `budgets`, which are those of the account and of the key.

    `limits` are the minute's, and `warnings` those of soft limits, as the admission left them.
    """

    call: Call
    principal: Principal
    priced: PricedRequest
    budgets: list[BudgetNow]
    nusd: int
    limits: tuple[RateLimit, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def user_id(self) -> str:
        return self.principal.account.user_id

    def abandoned_event(self) -> bytes:
        """The event that the ledger posts if the gateway never closes the call."""
        return encode_event(self.call.event(self.principal, "abandoned", 0, held_nusd=self.nusd))
