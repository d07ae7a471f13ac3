"""Maps the groups that an issuer or a proxy names to roles."""

from collections.abc import Collection
from typing import get_args

import msgspec

from libs.common.schemas.person import Role
from libs.common.settings import SettingsError

_ROLES: tuple[Role, ...] = get_args(Role)


class RoleMap(msgspec.Struct, frozen=True):
    """Names of groups with their roles; of several that somebody is in, the first one counts."""

    roles: tuple[tuple[str, Role], ...]

    def role_of(self, groups: Collection[str]) -> Role | None:
        return next((role for group, role in self.roles if group in groups), None)


def role_map(variable: str, text: str) -> RoleMap:
    """Of `group=role,group=role`. Raises SettingsError."""
    pairs = [part.rpartition("=") for part in text.split(",") if part.strip()]
    roles = tuple((group.strip(), _role(variable, role.strip())) for group, _, role in pairs)
    if not roles or not all(group for group, _ in roles):
        raise SettingsError(f"{variable} is wrong: it must be GROUP=ROLE, separated by commas")
    return RoleMap(roles)


def _role(variable: str, name: str) -> Role:
    for role in _ROLES:
        if role == name:
            return role
    raise SettingsError(f"{variable} is wrong: a role is one of {', '.join(_ROLES)}")
