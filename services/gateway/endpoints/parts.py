"""The parts of the gateway that its endpoints share."""

from concurrent.futures import Executor

import msgspec

from libs.common.schemas.invalidation import Invalidation
from services.gateway.admission.admissions import Admissions
from services.gateway.admission.early_refusals import EarlyRefusals
from services.gateway.calls.clock import SharedClock
from services.gateway.directory.directory import Directory
from services.gateway.directory.router import Router
from services.gateway.endpoints.body import BodyLimits
from services.gateway.endpoints.body_memory import BodyMemory
from services.gateway.endpoints.open_calls import OpenCalls
from services.gateway.endpoints.ownership import Ownership
from services.gateway.recordings.capture import Recordings
from services.gateway.upstream.dispatch import Dispatcher
from services.gateway.usage.estimator import Estimator
from services.gateway.usage.meter import Meter


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Opened once a process, shared by all calls."""

    directory: Directory
    router: Router
    admissions: Admissions
    dispatcher: Dispatcher
    meter: Meter
    clock: SharedClock
    open_calls: OpenCalls
    recordings: Recordings
    ownership: Ownership
    estimator: Estimator
    body_limits: BodyLimits
    body_memory: BodyMemory
    decoding: Executor
    early_refusals: EarlyRefusals
    keepalive_s: float

    def invalidate(self, invalidation: Invalidation) -> None:
        """Drops the cached copies of an object that an administrator changed."""
        if invalidation.kind == "route":
            self.router.invalidate_all()
        else:
            self.directory.invalidate(invalidation)

    def invalidate_all(self) -> None:
        """Clears all caches, since invalidations may have been missed."""
        self.directory.invalidate_all()
        self.router.invalidate_all()
