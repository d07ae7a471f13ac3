"""`Idempotency-Key` of a POST: a repeated request is answered again, and does nothing again.

- Requests are kept for a day by who made them and the key. Other parameters are a 409.
- Kept are a keyed digest of the parameters and the encrypted answer: it may hold a secret. The keys
  come from the root key and from the `Idempotency-Key`, which is not kept.
- A refused request has changed nothing, and is not kept.
- While the first is under way, a 409 says when to repeat it. An attempt that died or failed is made
  again with the ids of the first (`creations`), so that nothing is made twice.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.responses import Response, StreamingResponse

from libs.common.errors import AppError, Conflict, FieldError, RequestUnderWay, ValidationFailed
from libs.common.settings import Secret
from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.mongo.idempotent_requests import IdempotentRequest, KeptAnswer
from services.admin.creations import repeatable, set_creation
from services.admin.endpoints import EndpointCall, Next, Served, response_of
from services.admin.people.actor import actor_of

log = structlog.get_logger(__name__)

HEADER = "idempotency-key"
_KEPT_FOR = timedelta(hours=24)
# Longer than any request takes. A process that died answers nobody for so long.
_LEASE = timedelta(seconds=60)
_MAX_KEY_CHARS = 255
_MAX_KEPT_BYTES = 1024 * 1024
_NONCE_BYTES = 12
_SEED_BYTES = 32
_SERVER_FAULT = 500
_TRIES = 3
_NOT_KEPT = frozenset({"content-length"})


class Vault(msgspec.Struct, frozen=True):
    """The keys that one root key derives from one `Idempotency-Key`."""

    key: bytes

    def digest(self, parameters: bytes) -> str:
        return hmac.new(self.key, b"parameters " + parameters, "sha256").hexdigest()

    def encrypted(self, content: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.key).encrypt(nonce, content, None)

    def decrypted(self, content: bytes) -> bytes:
        """Raises InvalidTag where another key encrypted it."""
        return AESGCM(self.key).decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], None)


class Idempotency:
    """A layer around the endpoints, inside of the checks of role and scope."""

    def __init__(self, root_keys: Sequence[Secret]) -> None:
        self._root_keys = [key.reveal().encode() for key in root_keys]

    async def __call__(self, call: EndpointCall, following: Next) -> Served:
        if call.endpoint.method != "POST" or HEADER not in call.request.headers:
            return await following(call)
        made_by = _made_by(call)
        vaults = [Vault(hmac.digest(root, made_by, "sha256")) for root in self._root_keys]
        request = await _begin(call, made_by, vaults)
        if request.answer is not None:
            return _replay(request.answer, vaults)
        set_creation(call.request, repeatable(vaults[0].key, request.seed, request.began_at))
        return await _attempt(call, following, request, vaults[0])


async def _begin(call: EndpointCall, made_by: bytes, vaults: Sequence[Vault]) -> IdempotentRequest:
    """The request, with its answer or for this attempt to make. Raises AppError."""
    requests, now = call.request.state["idempotent_requests"], call.request.state["now"]()
    digests = [vault.digest(_parameters(call)) for vault in vaults]
    new = IdempotentRequest(
        request_hash=hashlib.sha256(made_by).hexdigest(),
        digest=digests[0],
        seed=os.urandom(_SEED_BYTES),
        attempt=call.request.state["new_id"](),
        began_at=now,
        lease_until=now + _LEASE,
        ends_at=now + _KEPT_FOR,
    )
    for _ in range(_TRIES):
        if await requests.begin(new):
            return new
        before = await requests.get(new.request_hash)
        if before is None:
            continue
        after = new
        if before.ends_at > now:
            if before.digest not in digests:
                message = (
                    "An earlier request with this Idempotency-Key had other parameters. "
                    "Send this one with another key to do both."
                )
                raise Conflict(message, param=HEADER)
            if before.answer is not None:
                return before
            _check_lease(before, now)
            after = msgspec.structs.replace(
                before, attempt=new.attempt, lease_until=new.lease_until
            )
        if await requests.replace(before, after):
            return after
    raise _under_way(1)


def _check_lease(request: IdempotentRequest, now: datetime) -> None:
    """Raises RequestUnderWay."""
    left_s = (request.lease_until - now).total_seconds()
    if left_s > 0:
        raise _under_way(max(1, round(left_s)))


def _under_way(lease_s: int) -> RequestUnderWay:
    return RequestUnderWay(
        "The request with this Idempotency-Key is under way. Repeat it in a moment; if its process "
        f"died, it is made again after {lease_s} s.",
        retry_after_s=min(lease_s, 2),
    )


async def _attempt(
    call: EndpointCall, following: Next, request: IdempotentRequest, vault: Vault
) -> Served:
    requests, now = call.request.state["idempotent_requests"], call.request.state["now"]
    try:
        result = await following(call)
    except AppError as error:
        if error.status < _SERVER_FAULT:
            await requests.release(request)
        else:
            await requests.replace(request, msgspec.structs.replace(request, lease_until=now()))
        raise
    except Exception:
        # It may or may not have been applied: the next attempt makes it again, with the same ids.
        await requests.replace(request, msgspec.structs.replace(request, lease_until=now()))
        raise
    response = response_of(call.endpoint, result)
    if isinstance(response, StreamingResponse):
        await requests.release(request)
        return result
    answer = KeptAnswer(
        status=response.status_code,
        headers={name: text for name, text in response.headers.items() if name not in _NOT_KEPT},
        body=vault.encrypted(bytes(response.body))
        if len(response.body) <= _MAX_KEPT_BYTES
        else None,
    )
    try:
        await requests.replace(request, msgspec.structs.replace(request, answer=answer))
    except PyMongoError as error:
        # It is done all the same, and is made again with the same ids if it is repeated.
        log.warning("idempotency.not_kept", error=error)
    return response


def _replay(answer: KeptAnswer, vaults: Sequence[Vault]) -> Response:
    """Raises Conflict if the stored answer cannot be read again."""
    for vault in vaults if answer.body is not None else ():
        try:
            content = vault.decrypted(answer.body or b"")
        except InvalidTag:
            continue
        headers = {**answer.headers, "idempotent-replayed": "true"}
        return Response(content, status_code=answer.status, headers=headers)
    raise Conflict(
        "This request was made before, and its answer cannot be shown again: it was too large, or "
        "ADMIN_API_KEY is another one since then. Read what it made; a key's secret that was lost "
        "is replaced by POST /admin/keys/{api_key}/rotate.",
        param=HEADER,
    )


def _made_by(call: EndpointCall) -> bytes:
    """The hash of the actor and the key. Raises ValidationFailed."""
    keys = call.request.headers.getlist(HEADER)
    if len(keys) != 1 or not 0 < len(keys[0]) <= _MAX_KEY_CHARS or not keys[0].isascii():
        message = f"must be one header of 1 to {_MAX_KEY_CHARS} ASCII characters"
        raise ValidationFailed([FieldError(HEADER, message)])
    return f"{actor_of(call.request).id}\0{keys[0]}".encode()


def _parameters(call: EndpointCall) -> bytes:
    scope = call.request.scope
    target = f"{scope['method']} {scope['path']}?".encode() + scope["query_string"]
    # An If-Match is one as well: it decides what the request may change.
    matched = ",".join(call.request.headers.getlist("if-match")).encode()
    # Whoever reaches other accounts meanwhile is not told of those that he reached.
    accounts = msgspec.json.encode(actor_of(call.request).accounts)
    return b"\0".join((target, matched, accounts, call.content))
