"""Whatever is done to a record, or to their order, is told, and where."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.audit_chain import EMPTY, checked, head_of, linked
from libs.common.schemas.audit import AuditRecord

START = datetime(2026, 11, 24, tzinfo=UTC)


def chain(length: int) -> list[AuditRecord]:
    records: list[AuditRecord] = []
    for number in range(length):
        record = AuditRecord(
            seq=0,
            phase="intent",
            intent=None,
            at=START + timedelta(seconds=number),
            actor="root",
            actor_name='"hash":"',
            role="owner",
            action="create_account",
            kind="accounts",
            object=f"account-{number}",
            address="127.0.0.1",
            request_id=str(number),
            after=',"hash":"',
        )
        records.append(linked(record, head_of(records[-1]) if records else EMPTY))
    return records


def test_a_chain_holds() -> None:
    records = chain(4)
    assert checked(records, EMPTY) == (head_of(records[-1]), None)
    assert checked(records[2:], head_of(records[1])) == (head_of(records[-1]), None)
    assert [record.seq for record in records] == [1, 2, 3, 4]


def test_the_hash_is_of_the_exported_line_without_its_last_member() -> None:
    (record,) = chain(1)
    line = msgspec.json.encode(record).decode()
    rest, _, last = line.rpartition(',"hash":')
    assert sha256(f"{rest}}}".encode()).hexdigest() == last.strip('"}')


@given(
    place=st.integers(0, 4),
    changes=st.sampled_from(
        [{"actor": "eve"}, {"after": None}, {"at": START}, {"status": 200}, {"object": "account-9"}]
    ),
)
def test_a_changed_record_is_found(place: int, changes: dict[str, object]) -> None:
    records = chain(5)
    changed = msgspec.structs.replace(records[place], **changes)
    if changed == records[place]:
        return
    records[place] = changed
    _, fault = checked(records, EMPTY)
    assert fault is not None
    assert (fault.seq, "was changed" in fault.problem) == (place + 1, True)


@given(place=st.integers(0, 3))
def test_a_removed_or_replaced_record_is_detected(place: int) -> None:
    records = chain(5)
    _, fault = checked(records[:place] + records[place + 1 :], EMPTY)
    assert fault is not None
    assert (fault.seq, "is missing" in fault.problem) == (place + 1, True)
    # Rewritten with a hash that is right for itself.
    forged = linked(
        msgspec.structs.replace(records[place], actor="eve"),
        head_of(records[place - 1]) if place else EMPTY,
    )
    _, fault = checked([*records[:place], forged, *records[place + 1 :]], EMPTY)
    assert fault is not None
    assert (fault.seq, "does not follow" in fault.problem) == (place + 2, True)
