import hashlib
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.ids import SECRET_PREFIX, new_secret, secret_hash, secret_prefix, uuid7

_times = st.integers(0, 2**48 - 1)
_entropy = st.binary(min_size=10, max_size=10)


def test_the_example_of_rfc_9562() -> None:
    # RFC 9562, A.6: 2022-02-22 19:22:22.000 UTC, with rand_a 0xCC3 and rand_b 0x18C4DC0C0C07398F.
    entropy = bytes.fromhex("0cc318c4dc0c0c07398f")
    assert uuid7(0x017F22E279B0, entropy) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(_times, st.binary(min_size=10, max_size=32))
def test_version_variant_and_time_are_in_their_places(now_ms: int, entropy: bytes) -> None:
    uuid = UUID(uuid7(now_ms, entropy))
    assert uuid.version == 7
    assert uuid.variant == RFC_4122
    assert uuid.int >> 80 == now_ms


@given(_times, _times, _entropy, _entropy)
def test_ids_sort_by_time(first_ms: int, later_ms: int, first: bytes, later: bytes) -> None:
    if first_ms < later_ms:
        assert uuid7(first_ms, first) < uuid7(later_ms, later)


@given(_times, _entropy, _entropy)
def test_74_random_bits_keep_ids_of_one_millisecond_apart(
    now_ms: int, first: bytes, second: bytes
) -> None:
    mask = ~(0xF << 76 | 0x3 << 62)
    differ = (int.from_bytes(first, "big") ^ int.from_bytes(second, "big")) & mask
    assert (uuid7(now_ms, first) != uuid7(now_ms, second)) == bool(differ)


@given(st.binary(min_size=32, max_size=32))
def test_a_secret_is_safe_in_a_header_and_keeps_all_its_entropy(entropy: bytes) -> None:
    secret = new_secret(entropy)
    assert secret.startswith(SECRET_PREFIX)
    assert len(secret) == len(SECRET_PREFIX) + 43
    assert set(secret.removeprefix(SECRET_PREFIX)) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_different_entropy_makes_different_secrets(first: bytes, second: bytes) -> None:
    assert (new_secret(first) == new_secret(second)) == (first == second)


def test_the_prefix_shows_six_characters_of_the_secret() -> None:
    secret = new_secret(bytes(range(32)))
    assert secret_prefix(secret) == secret[: len(SECRET_PREFIX) + 6]


def test_a_secret_is_stored_as_its_sha_256() -> None:
    assert secret_hash("sk-gw-x") == hashlib.sha256(b"sk-gw-x").hexdigest()
