"""Alerts of dead letters, once an hour for an account and a reason."""

from libs.common.schemas.alert import Alert, DeadLetterStored
from libs.common.storage.mongo.dead_letters import DeadLetter
from services.ledger_worker.alerts.watches import hour_key


def alert_of_letter(letter: DeadLetter) -> Alert:
    return Alert(
        kind="dead_letter.stored",
        name=f"{letter.user_id}|{letter.kind}|{letter.reason}|{hour_key(letter.buried_at)}",
        user_id=letter.user_id,
        at=letter.buried_at,
        data=DeadLetterStored(
            letter_id=letter.letter_id,
            letter_kind=letter.kind,
            reason=letter.reason,
            user_id=letter.user_id,
            call_id=letter.call_id,
        ),
    )
