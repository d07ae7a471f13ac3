"""Signs messages as https://www.standardwebhooks.com describes."""

from datetime import datetime

from standardwebhooks import Webhook

from libs.common.schemas.alert import Delivery, Receiver


def signed_headers(
    delivery: Delivery, receiver: Receiver, now: datetime
) -> list[tuple[bytes, bytes]]:
    """The headers of a message that is sent `now`, with a signature by each secret in force."""
    secrets = [receiver.secret]
    until = receiver.old_secret_until
    if receiver.old_secret is not None and until is not None and now < until:
        secrets.append(receiver.old_secret)
    # The library signs the whole second that the header names.
    signatures = [Webhook(s).sign(delivery.alert_id, now, delivery.body) for s in secrets]
    return [
        (b"webhook-id", delivery.alert_id.encode()),
        (b"webhook-timestamp", b"%d" % int(now.timestamp())),
        (b"webhook-signature", " ".join(signatures).encode()),
    ]
