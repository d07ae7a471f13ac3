"""The route table: every endpoint of the service, a row each.

A path is that of one route, whatever its methods. Of two paths that match a request the earlier
one serves it.
"""

from collections.abc import Sequence

from starlette.routing import Route

from libs.common.errors import Conflict, InvalidRequest, NotAcceptable, PreconditionFailed
from services.admin import (
    account_statuses,
    accounts,
    budget_outlooks,
    corrections,
    cost_comparisons,
    cost_imports,
    costs,
    dead_letters,
    health,
    keys,
    ledger,
    model_tests,
    models,
    proof,
    provider_costs,
    quotes,
    recordings,
    rotations,
    usage,
    usage_series,
    usage_sums,
)
from services.admin.alerts import deliveries, receivers
from services.admin.audit import audit
from services.admin.endpoints import Around, Endpoint, route_of
from services.admin.exports import usage_export
from services.admin.people import people, scopes

_CHANGE = (Conflict, PreconditionFailed)

# fmt: off
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/health", health.show_health, "Show that the process runs", role=None),
    Endpoint("GET", "/ready", health.show_ready,
             "Show that it can work", role=None, statuses=(200, 503)),
    Endpoint("GET", "/metrics", health.show_metrics, "Show metrics for Prometheus", role=None,
             media="text/plain"),
    Endpoint("GET", "/admin/accounts", accounts.list_accounts, "List accounts",
             scope=scopes.of_caller),
    Endpoint("POST", "/admin/accounts", accounts.create_account,
             "Create an account", role="operator", statuses=(201,), errors=(Conflict,)),
    Endpoint("GET", "/admin/accounts/{user_id}", accounts.show_account, "Show an account",
             scope=scopes.of_path),
    Endpoint("PATCH", "/admin/accounts/{user_id}", accounts.change_account,
             "Change an account", role="operator", errors=_CHANGE, scope=scopes.of_path),
    Endpoint("POST", "/admin/account-status", account_statuses.change_statuses,
             "Suspend, resume or archive the accounts that a filter finds", role="operator"),
    Endpoint("GET", "/admin/keys", keys.list_keys, "List keys", scope=scopes.of_query),
    Endpoint("POST", "/admin/keys", keys.create_key,
             "Create a key; its secret is shown once", role="operator", statuses=(201,),
             scope=scopes.of_body),
    Endpoint("GET", "/admin/keys/{api_key}", keys.show_key, "Show a key, by its id or its secret",
             scope=scopes.of_key),
    Endpoint("PATCH", "/admin/keys/{api_key}", keys.change_key,
             "Change a key", role="operator", errors=_CHANGE, scope=scopes.of_key),
    Endpoint("DELETE", "/admin/keys/{api_key}", keys.revoke_key,
             "Revoke a key", role="operator", errors=_CHANGE, scope=scopes.of_key),
    Endpoint("POST", "/admin/keys/{api_key}/rotate", rotations.rotate_key,
             "Give a key another secret", role="operator", errors=_CHANGE, scope=scopes.of_key),
    Endpoint("GET", "/admin/costs", costs.list_costs, "List prices"),
    Endpoint("POST", "/admin/costs", costs.create_cost,
             "Set a price", role="billing", statuses=(201,)),
    Endpoint("POST", "/admin/costs/import", cost_imports.import_costs,
             "Import a price map, or show what that changes", role="billing", statuses=(200, 201),
             errors=(InvalidRequest,), max_body_bytes=cost_imports.MAX_MAP_BYTES),
    Endpoint("GET", "/admin/costs/imports", cost_imports.list_imports, "List imports"),
    Endpoint("GET", "/admin/costs/imports/{import_id}", cost_imports.show_import, "Show an import"),
    Endpoint("DELETE", "/admin/costs/imports/{import_id}", cost_imports.undo_import,
             "Undo an import", role="billing", errors=(PreconditionFailed,)),
    Endpoint("POST", "/admin/costs/compare", cost_comparisons.compare_costs,
             "Compare prices with another list", writes=False,
             max_body_bytes=cost_imports.MAX_MAP_BYTES),
    Endpoint("POST", "/admin/costs/quote", quotes.quote, "Show what a usage costs", writes=False),
    # The id of a price in LiteLLM's map has slashes; it cannot be ended, as the error says.
    Endpoint("GET", "/admin/costs/{price_id:path}", costs.show_cost, "Show a price"),
    Endpoint("DELETE", "/admin/costs/{price_id:path}", costs.end_cost,
             "End a price", role="billing", errors=_CHANGE),
    Endpoint("GET", "/admin/models", models.list_models, "List routes"),
    Endpoint("POST", "/admin/models", models.create_model,
             "Create a route", role="operator", statuses=(201,), errors=(Conflict,)),
    # Before the next path, which also matches this one.
    Endpoint("POST", "/admin/models/{name:path}/test", model_tests.test_model,
             "Call each deployment of a route", role="operator"),
    Endpoint("GET", "/admin/models/{name:path}", models.show_model, "Show a route"),
    Endpoint("PATCH", "/admin/models/{name:path}", models.change_model,
             "Change a route", role="operator", errors=_CHANGE),
    Endpoint("DELETE", "/admin/models/{name:path}", models.delete_model,
             "Delete a route", role="operator", statuses=(204,), errors=_CHANGE),
    Endpoint("GET", "/admin/alerts", deliveries.list_alerts, "List alerts and their deliveries"),
    Endpoint("GET", "/admin/alerts/receivers", receivers.list_receivers, "List receivers"),
    Endpoint("POST", "/admin/alerts/receivers", receivers.create_receiver,
             "Create a receiver of alerts; its secret is shown once", role="operator",
             statuses=(201,), errors=(Conflict,)),
    Endpoint("GET", "/admin/alerts/receivers/{receiver_id}", receivers.show_receiver,
             "Show a receiver"),
    Endpoint("PATCH", "/admin/alerts/receivers/{receiver_id}", receivers.change_receiver,
             "Change a receiver", role="operator", errors=_CHANGE),
    Endpoint("DELETE", "/admin/alerts/receivers/{receiver_id}", receivers.remove_receiver,
             "Remove a receiver", role="operator", statuses=(204,), errors=_CHANGE),
    Endpoint("POST", "/admin/alerts/receivers/{receiver_id}/rotate", receivers.rotate_secret,
             "Give a receiver another secret", role="operator", errors=_CHANGE),
    Endpoint("POST", "/admin/alerts/receivers/{receiver_id}/test", receivers.test_receiver,
             "Send a receiver a test", role="operator", statuses=(202,), errors=(Conflict,)),
    Endpoint("GET", "/admin/alerts/{alert_id}", deliveries.show_alert, "Show an alert"),
    Endpoint("POST", "/admin/alerts/{alert_id}/replay", deliveries.replay_alert,
             "Send an alert again", role="operator", statuses=(202,), errors=(Conflict,)),
    Endpoint("GET", "/admin/people", people.list_people,
             "List the people who may call this API", role="owner"),
    Endpoint("POST", "/admin/people", people.create_person,
             "Create an admin key; its secret is shown once", role="owner", statuses=(201,)),
    Endpoint("GET", "/admin/people/me", people.show_me, "Show who you are", scope=scopes.of_caller),
    Endpoint("GET", "/admin/people/{person_id}", people.show_person, "Show a person", role="owner"),
    Endpoint("PATCH", "/admin/people/{person_id}", people.change_person,
             "Change a person", role="owner", errors=_CHANGE),
    Endpoint("DELETE", "/admin/people/{person_id}", people.revoke_person,
             "Revoke a person's admin key", role="owner", errors=_CHANGE),
    Endpoint("GET", "/admin/audit", audit.list_audit, "List writes, with who made them"),
    Endpoint("GET", "/admin/audit/verify", audit.verify_audit,
             "Prove that no record was changed or removed"),
    Endpoint("GET", "/admin/audit/export", audit.export_audit, "Export records as NDJSON",
             media="application/x-ndjson"),
    Endpoint("GET", "/admin/budgets", budget_outlooks.list_budgets,
             "List budgets, those at risk too", scope=scopes.of_query),
    Endpoint("GET", "/admin/usage", usage.list_usage, "List entries of all accounts",
             scope=scopes.of_query),
    Endpoint("GET", "/admin/usage/summary", usage_sums.show_summary, "Sum up usage by group",
             scope=scopes.of_query),
    Endpoint("GET", "/admin/usage/series", usage_series.show_series, "Show usage over time",
             scope=scopes.of_query),
    Endpoint("GET", "/admin/usage/export", usage_export.export_usage,
             "Export entries as CSV, lines of JSON or Parquet", errors=(NotAcceptable,),
             media="text/csv", scope=scopes.of_query),
    Endpoint("GET", "/admin/usage/user/{user_id}", usage.show_usage,
             "List an account's entries, with its spend", scope=scopes.of_path),
    Endpoint("GET", "/admin/ledger/verify", proof.verify_ledger, "Prove that the books agree"),
    Endpoint("GET", "/admin/ledger/entries/{entry_id}", ledger.show_entry, "Explain an entry",
             scope=scopes.of_entry),
    Endpoint("GET", "/admin/ledger/provider-costs", provider_costs.list_provider_costs,
             "List calls that cost other than their provider says", scope=scopes.of_query),
    Endpoint("POST", "/admin/ledger/corrections", corrections.create_correction,
             "Correct what an account has spent", role="billing", statuses=(201, 202),
             errors=(Conflict,), scope=scopes.of_body),
    Endpoint("POST", "/admin/ledger/reprice", ledger.reprice,
             "Price entries again", role="billing", statuses=(200, 202)),
    Endpoint("GET", "/admin/ledger/dead-letters", dead_letters.list_letters,
             "List deliveries that could not be posted"),
    Endpoint("POST", "/admin/ledger/dead-letters/replay", dead_letters.replay_letters,
             "Put dead letters back on the queue", role="operator", statuses=(202,)),
    Endpoint("GET", "/admin/recordings", recordings.list_recordings,
             "List recordings, without their texts", scope=scopes.of_query),
    Endpoint("DELETE", "/admin/recordings", recordings.delete_recordings,
             "Delete an account's recordings", role="operator", scope=scopes.of_query),
    Endpoint("GET", "/admin/recordings/{call_id}", recordings.show_recording,
             "Show the recording of a call", role="operator", scope=scopes.of_recording),
    Endpoint("DELETE", "/admin/recordings/{call_id}", recordings.delete_recording,
             "Delete the recording of a call", role="operator", statuses=(204,),
             errors=(PreconditionFailed,), scope=scopes.of_recording),
)
# fmt: on


def routes_of(endpoints: Sequence[Endpoint], around: Sequence[Around] = ()) -> list[Route]:
    """In the order of their paths' first rows."""
    by_path: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, []).append(endpoint)
    return [route_of(path, rows, around) for path, rows in by_path.items()]
