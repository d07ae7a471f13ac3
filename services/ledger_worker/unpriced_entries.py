"""Settles entries that were posted without a price, once there is one."""

from libs.common.storage.mongo.entries import EntryStore
from services.ledger_worker.corrector import Corrector

# Per run: models, and entries of each model.
_MAX_MODELS = 100
_MAX_ENTRIES = 500
_REASON = "The call was posted without a price, which exists now."
_MADE_BY = "ledger_worker"


class UnpricedSweep:
    """A price applies if it was valid when the call started.

    Each run continues where the last one ended, so that entries that still have no price do not
    block others.
    """

    def __init__(self, entries: EntryStore, corrector: Corrector) -> None:
        self._entries = entries
        self._corrector = corrector
        self._after: dict[tuple[str, str], str] = {}

    async def run(self) -> int:
        """Returns how many entries it settled."""
        settled = 0
        models = await self._entries.open_models(limit=_MAX_MODELS)
        self._after = {model: id_ for model, id_ in self._after.items() if model in models}
        for model in models:
            ids = await self._entries.open_entries(
                *model, after=self._after.pop(model, None), limit=_MAX_ENTRIES
            )
            if len(ids) == _MAX_ENTRIES:
                self._after[model] = ids[-1]
            settled += await self._corrector.reprice(ids, reason=_REASON, made_by=_MADE_BY)
        return settled
