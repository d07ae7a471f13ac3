"""Tries a call's deployments until one answers: retries, fallbacks, cooldowns.

A call that has sent a byte to its client is never tried again: what comes back from here is what
the client gets.
"""

import asyncio
import random
from collections import Counter
from enum import Enum, auto

from libs.common.domain.routing import backoff_s, next_candidate
from libs.common.errors import (
    AppError,
    ProviderNotConfigured,
    RateLimited,
    UpstreamFailed,
    UpstreamRefused,
)
from libs.common.schemas.route import Route
from services.gateway.auth import Headers
from services.gateway.call import Call
from services.gateway.formats.base import CallRequest
from services.gateway.upstream.answer import Answer, Stream, closing_with
from services.gateway.upstream.cooldowns import Cooldowns
from services.gateway.upstream.forward import Forwarder
from services.gateway.upstream.providers import Target
from services.gateway.upstream.router import Plan

Outcome = Answer | Stream | AppError

_BAD_STATUS = 400
# The next try, or another deployment, may well succeed.
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# This deployment's credential or model name is wrong; another one's may be right.
_MISCONFIGURED = frozenset({401, 403, 404})
_TOO_LONG = (b"context_length_exceeded", b"prompt is too long", b"maximum context length")
# A provider that asks for more time than this is left alone, and not waited for.
_MAX_WAIT_S = 5.0
_MAX_COOLDOWN_S = 600.0
_BUSY_RETRY_S = 1


class Verdict(Enum):
    """What an outcome means for the call."""

    GOOD = auto()
    AGAIN = auto()
    ELSEWHERE = auto()
    TOO_LONG = auto()
    FINAL = auto()


class Dispatcher:
    """Knows which deployments are busy here, and which have to be left alone everywhere."""

    def __init__(self, forwarder: Forwarder, cooldowns: Cooldowns) -> None:
        self._forwarder = forwarder
        self._cooldowns = cooldowns
        self._under_way: Counter[str] = Counter()

    async def send(
        self, call: Call, request: CallRequest, plan: Plan, headers: Headers
    ) -> Answer | Stream:
        """The first good answer, else the last bad one. Raises AppError where there was none."""
        targets, tried = plan.targets, list[str]()
        outcome: Outcome | None = None
        for attempt in range(1, plan.route.max_attempts + 1):
            target = self._next(targets, tried)
            if target is None:
                break
            tried.append(target.deployment_id)
            call.attempt(target)
            outcome = await self._try(call, request, target, headers)
            verdict = judge(outcome)
            if verdict is Verdict.GOOD:
                self._cooldowns.succeeded(target.deployment_id)
                break
            if verdict is Verdict.TOO_LONG and plan.context_targets and targets is plan.targets:
                targets, tried = plan.context_targets, []
                continue
            if verdict in (Verdict.FINAL, Verdict.TOO_LONG):
                break
            self._cool_down(target, outcome, plan.route)
            untried = any(t.deployment_id not in tried for t in targets if self._is_usable(t))
            if not untried:
                wait_s = _wait_s(outcome, attempt)
                last = attempt == plan.route.max_attempts
                if last or verdict is Verdict.ELSEWHERE or wait_s > _MAX_WAIT_S:
                    break
                await asyncio.sleep(wait_s)
        if outcome is None:
            raise RateLimited(
                "Every deployment of this model is busy. Try again in a moment.",
                retry_after_s=_BUSY_RETRY_S,
            )
        if isinstance(outcome, AppError):
            raise outcome
        return outcome

    async def _try(
        self, call: Call, request: CallRequest, target: Target, headers: Headers
    ) -> Outcome:
        """Counts the deployment as busy until the answer, or the stream, has ended."""
        name = target.deployment_id
        self._under_way[name] += 1
        outcome: Outcome | None = None
        try:
            outcome = await self._forwarder.send(call, request, target, headers)
        except (UpstreamFailed, UpstreamRefused) as error:
            outcome = error
        finally:
            if not isinstance(outcome, Stream):
                self._release(name)
        if isinstance(outcome, Stream):
            return closing_with(outcome, lambda: self._release(name))
        return outcome

    def _release(self, deployment_id: str) -> None:
        self._under_way[deployment_id] -= 1
        if self._under_way[deployment_id] <= 0:
            del self._under_way[deployment_id]

    def _next(self, targets: tuple[Target, ...], tried: list[str]) -> Target | None:
        """A deployment that cools down is still better than none."""
        for usable in (self._is_usable, self._has_room):
            target = next_candidate(targets, tried=tried, usable=usable, chance=random.random())
            if target is not None:
                return target
        return None

    def _is_usable(self, target: Target) -> bool:
        return self._has_room(target) and not self._cooldowns.is_cooling(target.deployment_id)

    def _has_room(self, target: Target) -> bool:
        limit = target.max_parallel
        return limit is None or self._under_way[target.deployment_id] < limit

    def _cool_down(self, target: Target, outcome: Outcome, route: Route) -> None:
        asked_s = _retry_after_s(outcome)
        if asked_s is not None and asked_s > _MAX_WAIT_S:
            self._cooldowns.start(target.deployment_id, min(asked_s, _MAX_COOLDOWN_S))
            return
        self._cooldowns.failed(
            target.deployment_id, after=route.cooldown_after, for_s=route.cooldown_s
        )


def judge(outcome: Outcome) -> Verdict:
    """By the status alone, but for a prompt that is too long, which only words tell."""
    if isinstance(outcome, Stream):
        return Verdict.GOOD
    if isinstance(outcome, ProviderNotConfigured):
        return Verdict.ELSEWHERE
    if outcome.status < _BAD_STATUS:
        return Verdict.GOOD
    if outcome.status in _TRANSIENT:
        return Verdict.AGAIN
    if outcome.status in _MISCONFIGURED:
        return Verdict.ELSEWHERE
    words = outcome.body if isinstance(outcome, Answer) else outcome.message.encode()
    if any(marker in words for marker in _TOO_LONG):
        return Verdict.TOO_LONG
    return Verdict.FINAL


def _wait_s(outcome: Outcome, attempt: int) -> float:
    asked_s = _retry_after_s(outcome)
    return backoff_s(attempt, random.random()) if asked_s is None else asked_s


def _retry_after_s(outcome: Outcome) -> float | None:
    """Seconds, from `retry-after-ms` or `retry-after`; a date there is passed over."""
    if isinstance(outcome, AppError):
        return outcome.retry_after_s
    headers = dict(outcome.headers)
    for name, divisor in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        value = headers.get(name, b"")
        if value.isdigit():
            return int(value) / divisor
    return None
