"""Sign-on by an authenticating proxy, which names the person and their groups in headers.

Its headers count only beside its secret, or from its address: anybody can send a header. A request
that names a person without either is refused, whatever else it carries.
"""

import hmac
import ipaddress
from collections.abc import Sequence

import msgspec
from starlette.datastructures import Headers
from starlette.types import Scope

from libs.common.errors import Forbidden, Unauthenticated
from libs.common.settings import Secret
from services.admin.people.actor import Actor
from services.admin.people.role_map import RoleMap

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAX_CHARS = 256
# The proxy knows a browser by its cookie, which goes with what other sites send too.
_READS = frozenset({"GET", "HEAD"})
_FOREIGN = frozenset({"cross-site", "same-site"})


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """With both a `secret` and `networks`, a request needs both. Header names are in lower case."""

    user_header: str
    groups_header: str
    roles: RoleMap
    secret: Secret | None
    secret_header: str
    networks: tuple[Network, ...]

    def actor(self, scope: Scope) -> Actor | None:
        """None where the request names nobody. Raises Unauthenticated and Forbidden."""
        headers = Headers(scope=scope)
        values = headers.getlist(self.user_header)
        if not values:
            return None
        if not self._is_from_proxy(scope, headers):
            raise Unauthenticated(
                f"The header {self.user_header} is the proxy's, and this request is not from it."
            )
        if scope["method"] not in _READS and headers.get("sec-fetch-site") in _FOREIGN:
            raise Forbidden("Another site sent this from your browser, so nothing was done.")
        name = values[0].strip()
        if len(values) > 1 or not name or len(name) > _MAX_CHARS or not name.isprintable():
            raise Unauthenticated(f"The header {self.user_header} must name one person.")
        groups = [
            group.strip()
            for text in headers.getlist(self.groups_header)
            for group in text.split(",")
        ]
        role = self.roles.role_of(groups)
        if role is None:
            raise Forbidden("None of your groups has a role here. Ask an owner for a role.")
        return Actor(id=f"proxy:{name}", name=name, role=role)

    def _is_from_proxy(self, scope: Scope, headers: Headers) -> bool:
        return self._has_secret(headers.getlist(self.secret_header)) and self._is_near(scope)

    def _has_secret(self, values: Sequence[str]) -> bool:
        if self.secret is None:
            return True
        expected = self.secret.reveal().encode()
        return len(values) == 1 and hmac.compare_digest(values[0].encode("latin-1"), expected)

    def _is_near(self, scope: Scope) -> bool:
        if not self.networks:
            return True
        try:
            address = ipaddress.ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)
