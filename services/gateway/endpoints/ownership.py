"""Objects that a provider keeps belong to the account whose call made them.

All accounts share the provider's key, so the provider would hand out anybody's object to whoever
names it: the gateway asks its own books first. `formats.object_fields` says which fields name one.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from libs.common.errors import AppError, NotFound, ObjectNotAllowed, ThreadNotFound, Unavailable
from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.provider_objects import ObjectStore, ProviderObject
from libs.common.storage.redis.client import RedisError
from services.gateway.calls.principal import Principal
from services.gateway.calls.target import Plan, Target
from services.gateway.directory.router import Router
from services.gateway.formats.base import CallRequest, Format
from services.gateway.formats.objects import NamedObject

_MAX_SHOWN = 256


class Owned(msgspec.Struct, frozen=True, kw_only=True):
    """The plan for a call, the tokens that it continues, and the objects it may name."""

    plan: Plan
    input_tokens: int = 0
    granted: frozenset[str] = frozenset()


class Ownership:
    """Knows the owner of each object, and the deployment that keeps it."""

    def __init__(self, objects: ObjectStore, router: Router) -> None:
        self._objects = objects
        self._router = router

    async def check(
        self, principal: Principal, client_format: Format, request: CallRequest, plan: Plan
    ) -> Owned:
        """The plan, reduced to the deployments that keep the objects which the request names.

        Raises NotFound or ObjectNotAllowed for what the caller may not name.
        """
        targets = plan.targets + plan.context_targets
        named_objects = request.named_objects
        if not any(target.speaks(client_format.name) for target in targets):
            named_objects = tuple(each for each in named_objects if not each.rule.relayed_only)
        patterns = (
            *principal.account.provider_objects,
            *principal.key.provider_objects,
            *plan.route.provider_objects,
        )
        granted = frozenset(
            each.id for each in named_objects if each.rule.grantable and _matches(each.id, patterns)
        )
        own = [each for each in named_objects if each.id not in granted or not each.rule.grantable]
        for each in own:
            if not each.rule.makeable:
                raise _refusal(each)
        if not own:
            return Owned(plan=plan, granted=granted)
        kept_objects = await self._find(principal, (each.id for each in own))
        for each in own:
            if each.id not in kept_objects:
                raise _refusal(each)
        continued = {each.id for each in own if each.rule.continues}
        return Owned(
            plan=await self._pin(plan, client_format, own, kept_objects),
            input_tokens=sum(kept_objects[each].tokens or 0 for each in continued),
            granted=granted,
        )

    async def find_response(self, principal: Principal, response_id: str) -> ProviderObject:
        """Raises NotFound, or Unavailable if neither store can answer."""
        kept_objects = await self._find(principal, (response_id,))
        if response_id not in kept_objects:
            raise NotFound(f"Response with id '{shown_text(response_id)}' not found.")
        return kept_objects[response_id]

    async def _find(self, principal: Principal, ids: Iterable[str]) -> dict[str, ProviderObject]:
        try:
            return await self._objects.find(principal.account.user_id, ids)
        except (PyMongoError, RedisError, OSError) as error:
            raise Unavailable(
                "The gateway cannot check who owns the objects that the request names. Try again "
                "in a moment."
            ) from error

    async def _pin(
        self,
        plan: Plan,
        client_format: Format,
        own: list[NamedObject],
        kept_objects: dict[str, ProviderObject],
    ) -> Plan:
        """Raises NotFound if no deployment of the model keeps all of the objects."""
        keepers = tuple(
            target
            for target in plan.targets + plan.context_targets
            if target.speaks(client_format.name)
        )
        for each in own:
            kept_object = kept_objects[each.id]
            same = tuple(t for t in keepers if t.deployment_id == kept_object.deployment)
            keepers = same or await self._at_the_same_place(keepers, kept_object)
            if not keepers:
                raise _refusal(each, "is kept by a provider that does not serve this model here")
        return msgspec.structs.replace(plan, targets=keepers, context_targets=())

    async def _at_the_same_place(
        self, targets: tuple[Target, ...], kept_object: ProviderObject
    ) -> tuple[Target, ...]:
        """The deployments that reach the same objects, such as another model of the provider."""
        try:
            plan = await self._router.plan(kept_object.model)
        except NotFound:
            return ()
        for maker in plan.targets + plan.context_targets:
            if maker.deployment_id == kept_object.deployment:
                return tuple(target for target in targets if _place(target) == _place(maker))
        return ()


def shown_text(text: str) -> str:
    """A client's text, fit to be shown: bounded, and without characters that cannot be encoded."""
    return text[:_MAX_SHOWN].encode("ascii", "backslashreplace").decode()


def _matches(object_id: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(object_id, pattern) for pattern in patterns)


def _place(target: Target) -> tuple[object, ...]:
    key = None if target.api_key is None else target.api_key.reveal()
    return target.provider, target.base_url, target.credential, key


def _refusal(named: NamedObject, reason: str = "not found") -> AppError:
    rule, path, object_id = named.rule, shown_text(named.path), shown_text(named.id)
    hint = (
        "Ask your administrator to list it in 'provider_objects' of the account, the key or the "
        "route."
    )
    if not rule.makeable:
        return ObjectNotAllowed(
            f"{path}: {rule.noun} '{object_id}' belongs to the operator and is not allowed. {hint}",
            param=path,
        )
    if rule.thread:
        return ThreadNotFound(f"{path}: {rule.noun} with id '{object_id}' {reason}.", param=path)
    advice = f" No call of this account made it. {hint}" if rule.grantable else ""
    return NotFound(f"{path}: {rule.noun} with id '{object_id}' {reason}.{advice}", param=path)
