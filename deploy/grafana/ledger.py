"""The rows for usage: the spool, the queue, posting, the proof, and entries."""

from deploy.grafana.calls import quantiles
from deploy.grafana.panels import Panel, PanelQuery, PanelRow
from deploy.grafana.queries import gauge, increase, rate

LEDGER = PanelRow(
    "Ledger",
    (
        Panel(
            "Queue",
            "short",
            "Batches of usage events that wait or run, in Redis. None is drawn without a worker. "
            "Jobs of shards that are away are not counted.",
            (
                PanelQuery(gauge("ledger_queue_jobs", how="max"), "jobs"),
                PanelQuery(gauge("ledger_queue_shards_away", how="max"), "shards away"),
            ),
            ("WorkerAbsent",),
        ),
        Panel(
            "Oldest event in the queue",
            "s",
            "Usually below a second; it grows while nothing is posted.",
            (PanelQuery(gauge("ledger_queue_oldest_seconds", how="max"), "oldest"),),
            ("QueueOld",),
        ),
        Panel(
            "Posted",
            "ops",
            "Entries added to the ledger, events delivered again, and corrections.",
            (
                PanelQuery(rate("ledger_entries_posted_total"), "posted"),
                PanelQuery(rate("ledger_entries_skipped_total"), "delivered again"),
                PanelQuery(rate("ledger_corrections_posted_total"), "corrections"),
            ),
        ),
        Panel(
            "Time to post",
            "s",
            "To price, post and settle the events of one transaction.",
            quantiles("ledger_post_seconds"),
        ),
        Panel(
            "Events in a transaction",
            "short",
            "Batches grow with the load, so that each event costs less.",
            quantiles("ledger_transaction_events"),
        ),
        Panel(
            "Trouble with posting",
            "short",
            "Jobs postponed for a retry, queued jobs whose data Redis lost, events that cannot be "
            "posted, usage without a price, calls that their gateway never finished.",
            (
                PanelQuery(increase("ledger_job_retries_total"), "retries"),
                PanelQuery(increase("ledger_missing_jobs_total"), "data lost"),
                PanelQuery(increase("ledger_dead_letters_total", "kind"), "dead letter {{kind}}"),
                PanelQuery(increase("ledger_entries_unpriced_total"), "unpriced"),
                PanelQuery(increase("ledger_calls_abandoned_total"), "abandoned"),
            ),
            ("JobsRetried", "JobsMissing", "DeadLettersStored", "CallsUnpriced", "CallsAbandoned"),
        ),
        Panel(
            "Dead letters",
            "short",
            "Deliveries that could not be posted, and wait for an administrator.",
            (PanelQuery(gauge("admin_dead_letters", how="max"), "waiting"),),
            ("DeadLettersStored",),
        ),
        Panel(
            "The proof",
            "none",
            "1 where the last proof of the ledger found no difference, 0 where it did.",
            (PanelQuery(gauge("ledger_verify_ok", "instance", how="min"), "{{instance}}"),),
            ("LedgerDrifted",),
            top=1,
        ),
        Panel(
            "Age of the last proof",
            "s",
            "Since all accounts were last proved without a difference.",
            (
                PanelQuery(
                    f"time() - {gauge('ledger_verify_last_success_timestamp', how='max')}", "age"
                ),
            ),
            ("ProofLate",),
        ),
        Panel(
            "Oldest sums that are not rolled up",
            "s",
            "Since the posting. Reads are exact all the same, and take longer the more is left.",
            (PanelQuery(gauge("ledger_unrolled_oldest_seconds", how="max"), "oldest"),),
            ("RollUpLate",),
        ),
    ),
)

SPOOL = PanelRow(
    "Spool",
    (
        Panel(
            "Spool",
            "bytes",
            "Size of each gateway's files with usage events, room for more included.",
            (PanelQuery(gauge("gateway_spool_bytes", "instance"), "{{instance}}"),),
        ),
        Panel(
            "State of the spool",
            "none",
            "1 while events wait in it, because Redis is away, and while it has no room.",
            (
                PanelQuery(gauge("gateway_spool_backlog", "instance"), "{{instance}} backlog"),
                PanelQuery(
                    gauge("gateway_spool_lacks_room", "instance"), "{{instance}} lacks room"
                ),
            ),
            ("SpoolBacklog", "SpoolLacksRoom"),
            top=1,
        ),
        Panel(
            "Events past Redis",
            "short",
            "Usage events that were written to the spool, and those that not even it takes: these "
            "are lost with the process.",
            (
                PanelQuery(increase("gateway_events_spooled_total"), "spooled"),
                PanelQuery(gauge("gateway_events_in_memory", "instance"), "{{instance}} in memory"),
            ),
            ("EventsInMemory",),
        ),
    ),
)

OUTGOING = PanelRow(
    "Recordings, alerts and traces",
    (
        Panel(
            "Recordings in the gateways",
            "ops",
            "queued, or why one was dropped: full, queue_full, redis_away, failed.",
            (PanelQuery(rate("gateway_recordings_total", "end"), "{{end}}"),),
            ("RecordingsDropped",),
            width=6,
        ),
        Panel(
            "Recordings in the worker",
            "ops",
            "stored, expired, damaged or refused.",
            (PanelQuery(rate("ledger_recordings_total", "end"), "{{end}}"),),
            ("RecordingsLost",),
            width=6,
        ),
        Panel(
            "Alerts to receivers",
            "short",
            "Tries to send an alert of an account's: delivered, postponed or failed.",
            (PanelQuery(increase("ledger_alerts_total", "end"), "{{end}}"),),
            ("AlertsNotDelivered",),
            width=6,
        ),
        Panel(
            "Traces",
            "ops",
            "Calls whose spans were exported, failed to be, or were dropped before.",
            (PanelQuery(rate("ledger_traced_calls_total", "end"), "{{end}}"),),
            width=6,
        ),
    ),
)

ROWS = (LEDGER, SPOOL, OUTGOING)
