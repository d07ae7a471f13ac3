"""Rotations keep what clients hold working, and no longer than was said."""

from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.access import check_key
from libs.common.domain.rotation import MAX_OLD_SECRETS, held_by, old_secrets_after
from libs.common.errors import KeyExpired
from libs.common.schemas.key import ApiKey, OldSecret
from tests.unit.builders import NOW, api_key

HOUR = timedelta(hours=1)


def old(name: str, until: datetime) -> OldSecret:
    return OldSecret(prefix=name, secret_hash=name, until=until)


def rotated(key: ApiKey, name: str, until: datetime, now: datetime) -> ApiKey | None:
    secrets = old_secrets_after(key, until, now)
    if secrets is None:
        return None
    fields: dict[str, Any] = {"prefix": name, "secret_hash": name, "old_secrets": secrets}
    return api_key(**fields)


@given(st.lists(st.tuples(st.integers(0, 72), st.integers(0, 72)), max_size=12))
def test_a_secret_works_until_the_earliest_end_of_its_graces(
    steps: list[tuple[int, int]],
) -> None:
    key, now, ends = api_key(secret_hash="0"), NOW, dict[str, datetime]()
    for number, (pause_h, grace_h) in enumerate(steps, 1):
        now += pause_h * HOUR
        until = now + grace_h * HOUR
        after = rotated(key, str(number), until, now)
        if after is None:
            assert sum(each.until > now for each in key.old_secrets) == MAX_OLD_SECRETS
            assert until > now
            continue
        ends = {name: min(end, until) for name, end in ends.items()} | {key.secret_hash: until}
        key = after
        assert len(key.old_secrets) <= MAX_OLD_SECRETS
        assert key.secret_hash not in [each.secret_hash for each in key.old_secrets]
        works = {each.secret_hash: each.until for each in key.old_secrets if each.until > now}
        assert works == {name: end for name, end in ends.items() if end > now}


def test_too_many_old_secrets_can_all_be_ended() -> None:
    key = api_key(old_secrets=tuple(old(str(n), NOW + HOUR) for n in range(MAX_OLD_SECRETS)))
    assert old_secrets_after(key, NOW + HOUR, NOW) is None
    secrets = old_secrets_after(key, NOW, NOW)
    assert secrets is not None
    assert {each.until for each in secrets} == {NOW}


def test_each_holder_has_the_key_until_its_secret_ends() -> None:
    key = api_key(old_secrets=(old("first", NOW), old("second", NOW + HOUR)))
    assert held_by(key, key.secret_hash) is key
    first, second = held_by(key, "first"), held_by(key, "second")
    assert (first.key_id, first.expires_at) == (key.key_id, NOW)
    error = check_key(first, NOW)
    assert isinstance(error, KeyExpired)
    assert "This secret was replaced" in error.message
    assert check_key(second, NOW) is None
    assert check_key(second, NOW + HOUR) is not None
    assert check_key(key, NOW + HOUR) is None


def test_an_old_secret_does_not_outlive_the_key() -> None:
    key = api_key(old_secrets=(old("first", NOW + HOUR),), expires_at=NOW)
    assert held_by(key, "first").expires_at == NOW
    revoked = api_key(old_secrets=(old("first", NOW + HOUR),), status="revoked")
    assert check_key(held_by(revoked, "first"), NOW) is not None
