"""Tries a call's deployments until one answers: retries, fallbacks, cooldowns.

A call is never tried again once a byte has gone to its client: the dispatcher's answer is final.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter, time
from typing import Protocol

import msgspec

from libs.common.domain.candidates import backoff_s, next_candidate
from libs.common.errors import (
    AppError,
    InvalidRequest,
    ProviderNotConfigured,
    RateLimited,
    UpstreamFailed,
    UpstreamRefused,
    release_frames,
)
from libs.common.schemas.route import Route
from libs.common.schemas.usage import FailedAttempt
from services.gateway.calls.attempts import Attempt, Attempts
from services.gateway.calls.call import Call
from services.gateway.calls.headers import Headers
from services.gateway.calls.target import Plan, Target
from services.gateway.formats.base import CallRequest
from services.gateway.upstream.answer import Stream, WholeAnswer, closing_with
from services.gateway.upstream.capacity import Capacity
from services.gateway.upstream.cooldowns import Cooldowns
from services.gateway.upstream.failed_attempts import note_failure
from services.gateway.upstream.signals import error_with_signals, with_signals
from services.gateway.upstream.verdict import (
    Outcome,
    Verdict,
    failure_of,
    is_redirect,
    judge,
    retry_after_s,
)

# If a provider asks for a longer wait, its deployment is given up for the call.
_MAX_WAIT_S = 5.0
_MAX_COOLDOWN_S = 600.0
_BUSY_RETRY_S = 1
# These concern the gateway's own connection to the provider, which is not the client's fault. Some
# client libraries would repeat the request silently.
_HIDDEN_STATUSES = frozenset({421, 425, 499})
_FIRST_REDIRECT = 300


# No provider was called: the translation failed, or the gateway lacks the key.
_NOT_ASKED = (InvalidRequest, ProviderNotConfigured)


class Sender(Protocol):
    """Makes an attempt. The forwarder implements it."""

    async def send(self, attempt: Attempt) -> WholeAnswer | Stream: ...


class _Candidates(msgspec.Struct, kw_only=True):
    """The targets of one call. Those in `given_up` are not tried again."""

    user_id: str
    targets: tuple[Target, ...]
    tried: list[str] = msgspec.field(default_factory=list)
    given_up: set[str] = msgspec.field(default_factory=set)


class Dispatcher:
    """Chooses deployments by their load in this process and by the shared cooldowns."""

    def __init__(
        self,
        sender: Sender,
        cooldowns: Cooldowns,
        capacity: Capacity,
        *,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time,
    ) -> None:
        self._sender = sender
        self._cooldowns = cooldowns
        self._capacity = capacity
        self._chance = chance
        self._sleep = sleep
        self._clock = clock
        self._under_way: defaultdict[str, int] = defaultdict(int)

    async def send(
        self,
        call: Call,
        request: CallRequest,
        plan: Plan,
        headers: Headers,
        attempts: Attempts,
    ) -> WholeAnswer | Stream:
        """The first good answer, else the last bad one. Raises AppError without an answer."""
        attempts.began_s = perf_counter()
        outcome: Outcome | None = None
        user_id = call.user_id
        candidates = _Candidates(user_id=user_id, targets=plan.targets)
        target = self._next(candidates)
        for number in range(1, plan.route.max_attempts + 1):
            if target is None:
                break
            candidates.tried.append(target.deployment_id)
            attempt = Attempt(call, request, target, headers, len(attempts.failed) + 1)
            started_s = perf_counter()
            outcome = await self._try(attempt, attempts)
            verdict = judge(outcome)
            if isinstance(outcome, Stream) or verdict is Verdict.GOOD:
                self._cooldowns.succeeded(target.deployment_id, user_id)
                break
            failed_attempt = note_failure(attempt, attempts, outcome, _ms_since(started_s))
            pause_s = retry_after_s(outcome, self._clock())
            self._remember(failed_attempt, user_id, outcome, verdict, pause_s, plan.route)
            if number == plan.route.max_attempts or verdict is Verdict.FINAL:
                break
            if verdict is Verdict.TOO_LONG:
                if not plan.context_targets or candidates.targets is plan.context_targets:
                    break
                candidates = _Candidates(user_id=user_id, targets=plan.context_targets)
                target = self._next(candidates)
                continue
            wait_s = backoff_s(number, self._chance()) if pause_s is None else pause_s
            if verdict is Verdict.ELSEWHERE or wait_s > _MAX_WAIT_S:
                candidates.given_up.add(target.deployment_id)
            target = self._next(candidates)
            if target is not None and target.deployment_id in candidates.tried:
                await self._sleep(wait_s)
                target = self._next(candidates)
        attempts.ended_s = perf_counter()
        return self._with_signals(call, outcome)

    async def send_to(self, attempt: Attempt, attempts: Attempts) -> WholeAnswer | Stream:
        """This attempt alone, which cooldowns do not count. Raises AppError."""
        began_s = attempts.began_s = perf_counter()
        outcome = await self._try(attempt, attempts)
        attempts.ended_s = perf_counter()
        if not isinstance(outcome, Stream) and judge(outcome) is not Verdict.GOOD:
            note_failure(attempt, attempts, outcome, _ms_since(began_s))
        return self._with_signals(attempt.call, outcome)

    async def _try(self, attempt: Attempt, attempts: Attempts) -> Outcome:
        """Counts the deployment as busy until the answer or the stream has ended.

        Raises NoConnection, which is not the deployment's fault.
        """
        attempts.target = attempt.target
        name, user_id = attempt.target.deployment_id, attempt.call.user_id
        self._under_way[name] += 1
        if not self._capacity.take_free(user_id):
            try:
                await self._capacity.take(user_id)
            except BaseException:
                self._leave(name)
                raise
        outcome: Outcome | None = None
        attempts.asked_s = perf_counter()
        try:
            outcome = await self._sender.send(attempt)
        except (InvalidRequest, ProviderNotConfigured, UpstreamFailed, UpstreamRefused) as error:
            outcome = error
            release_frames(error)
        finally:
            if not isinstance(outcome, _NOT_ASKED):
                attempts.count += 1
            if not isinstance(outcome, Stream):
                self._release(name, user_id)
        if isinstance(outcome, Stream):
            return closing_with(outcome, lambda: self._release(name, user_id))
        return outcome

    def _release(self, deployment_id: str, user_id: str) -> None:
        self._capacity.release(user_id)
        self._leave(deployment_id)

    def _leave(self, deployment_id: str) -> None:
        self._under_way[deployment_id] -= 1
        if self._under_way[deployment_id] <= 0:
            del self._under_way[deployment_id]

    def _next(self, candidates: _Candidates) -> Target | None:
        """Falls back to a cooling deployment if no other is left."""
        if len(candidates.targets) == 1 and not candidates.tried:
            # The only deployment is tried even if it cools down.
            (only,) = candidates.targets
            return only if self._has_room(only) else None
        for usable in (partial(self._is_usable, candidates.user_id), self._has_room):
            target = next_candidate(
                candidates.targets
                if not candidates.given_up
                else [t for t in candidates.targets if t.deployment_id not in candidates.given_up],
                tried=candidates.tried,
                usable=usable,
                chance=self._chance(),
            )
            if target is not None:
                return target
        return None

    def _is_usable(self, user_id: str, target: Target) -> bool:
        cooling = self._cooldowns.is_cooling(target.deployment_id, user_id)
        return not cooling and self._has_room(target)

    def _has_room(self, target: Target) -> bool:
        limit = target.max_parallel
        return limit is None or self._under_way.get(target.deployment_id, 0) < limit

    def _with_signals(self, call: Call, outcome: Outcome | None) -> WholeAnswer | Stream:
        """The client's answer, with headers that make the SDKs retry correctly."""
        if isinstance(outcome, WholeAnswer) and outcome.status < _FIRST_REDIRECT:
            return outcome
        try:
            answer = _raise_or_return(outcome)
        except AppError as error:
            raise error_with_signals(error, call.format) from error.__cause__
        if isinstance(answer, Stream):
            return answer
        return with_signals(answer, call.format, self._clock())

    def _remember(
        self,
        failed_attempt: FailedAttempt,
        user_id: str,
        outcome: WholeAnswer | AppError,
        verdict: Verdict,
        pause_s: float | None,
        route: Route,
    ) -> None:
        name = failed_attempt.deployment
        if verdict not in (Verdict.AGAIN, Verdict.ELSEWHERE):
            self._cooldowns.refused(name, user_id)
            return
        for_s, wants_time = float(route.cooldown_s), False
        if pause_s is not None and pause_s > _MAX_WAIT_S:
            for_s, wants_time = min(pause_s, _MAX_COOLDOWN_S), True
        self._cooldowns.failed(
            name,
            user_id,
            failure_of(outcome),
            after=route.cooldown_after,
            for_s=for_s,
            at_once=wants_time,
            last_answer=f"{failed_attempt.status or ''} {failed_attempt.code}".strip(),
        )


def _ms_since(started_s: float) -> int:
    return int((perf_counter() - started_s) * 1000)


def _raise_or_return(outcome: Outcome | None) -> WholeAnswer | Stream:
    if outcome is None:
        raise RateLimited(
            "Every deployment of this model is busy. Try again in a moment.",
            retry_after_s=_BUSY_RETRY_S,
        )
    if not isinstance(outcome, Stream) and outcome.status in _HIDDEN_STATUSES:
        raise UpstreamFailed(f"The provider answered with status {outcome.status}.")
    if isinstance(outcome, AppError):
        raise outcome
    if isinstance(outcome, WholeAnswer) and is_redirect(outcome):
        raise UpstreamFailed(
            "The provider redirects to another address. The gateway does not follow redirects."
        )
    return outcome
