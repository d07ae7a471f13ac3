"""Adjusts sampling to the target's models."""

from typing import Any

import msgspec
from msgspec.structs import replace

from services.gateway.upstream.translation.conversation import NO_SAMPLING, Request
from services.gateway.upstream.translation.mender.aim import Aim

# Values that equal the provider's own defaults.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "top_k": (),
    "seed": (),
    "logit_bias": (msgspec.Raw(b"{}"),),
    "presence": (0,),
    "frequency": (0,),
    "wants_logprobs": (False,),
    "top_logprobs": (0,),
}
_OF_CLAUDE = ("temperature", "top_p", "top_k")
_OF_OPENAI = ("temperature", "top_p", "presence", "frequency", "wants_logprobs", "top_logprobs")


def refused_sampling(request: Request, aim: Aim) -> Request:
    """Drops sampling for newer models, which choose it themselves."""
    if aim.profile.takes_sampling:
        return request
    return _without(request, aim, _OF_CLAUDE, "the model does not take it")


def lacking_sampling(request: Request, aim: Aim) -> Request:
    """Drops sampling fields that the server would reject."""
    if not aim.profile.lacks:
        return request
    return _without(request, aim, aim.profile.lacks, "the model's provider does not know it")


def sampling_while_thinking(request: Request, aim: Aim) -> Request:
    """OpenAI's models accept sampling only without thinking, which not all turn off by default."""
    profile = aim.profile
    if not profile.efforts:
        return request
    effort = request.thinking.effort or profile.default_effort
    if effort == "none":
        return request
    return _without(request, aim, _OF_OPENAI, "the model does not take it while it thinks")


def one_way_of_sampling(request: Request, aim: Aim) -> Request:
    """Claude accepts a temperature or `top_p`, not both."""
    sampling = request.sampling
    if sampling.temperature is None or sampling.top_p is None:
        return request
    if sampling.top_p != 1:
        aim.adapted("sampling.top_p")
    return replace(request, sampling=replace(sampling, top_p=None))


def _without(request: Request, aim: Aim, names: tuple[str, ...], why: str) -> Request:
    sampling = request.sampling
    if sampling == NO_SAMPLING:
        return request
    changes: dict[str, Any] = {}
    for name in names:
        value, default = getattr(sampling, name), getattr(NO_SAMPLING, name)
        if value == default:
            continue
        if value not in _NEUTRAL[name]:
            aim.unsupported(f"sampling.{name}", why)
        changes[name] = default
    return replace(request, sampling=replace(sampling, **changes)) if changes else request
