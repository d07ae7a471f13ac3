"""The rows for models and providers, with their costs."""

from deploy.grafana.panels import Panel, PanelQuery, PanelRow
from deploy.grafana.queries import GEN_AI, OF_MODEL, gauge, mean, quantile, rate

_TTFT = "gen_ai_client_operation_time_to_first_chunk_seconds"
_DURATION = "gen_ai_client_operation_duration_seconds"

MODELS = PanelRow(
    "Models and providers",
    (
        Panel(
            "Calls by model",
            "reqps",
            "Posted calls, by the model that answered.",
            (PanelQuery(rate("ledger_calls_total", "model", OF_MODEL), "{{model}}"),),
            stacked=True,
        ),
        Panel(
            "First byte by provider, p90",
            "s",
            "From the arrival of a call with a stream to its first byte.",
            (
                PanelQuery(
                    quantile(0.9, _TTFT, "gen_ai_provider_name", GEN_AI), "{{gen_ai_provider_name}}"
                ),
            ),
            ("ProviderSlow",),
        ),
        Panel(
            "First byte by model, median",
            "s",
            "From the arrival of a call with a stream to its first byte.",
            (
                PanelQuery(
                    quantile(0.5, _TTFT, "gen_ai_request_model", GEN_AI), "{{gen_ai_request_model}}"
                ),
            ),
        ),
        Panel(
            "Duration by model, p90",
            "s",
            "From the arrival of a posted call to its last byte.",
            (
                PanelQuery(
                    quantile(0.9, _DURATION, "gen_ai_request_model", GEN_AI),
                    "{{gen_ai_request_model}}",
                ),
            ),
        ),
        Panel(
            "Tries by deployment",
            "ops",
            "Tries of deployments by posted calls, and how they ended.",
            (
                PanelQuery(
                    rate("ledger_attempts_total", "deployment, end", OF_MODEL),
                    "{{deployment}} {{end}}",
                ),
            ),
        ),
        Panel(
            "Fallbacks and cooling",
            "short",
            "Calls a second that another deployment answered than the first one tried; deployments "
            "that get no calls for a while, for all accounts or for one.",
            (
                PanelQuery(
                    rate("ledger_fallbacks_total", "deployment", OF_MODEL), "to {{deployment}}"
                ),
                PanelQuery(
                    gauge("gateway_deployments_cooling", "scope", how="max"), "cooling {{scope}}"
                ),
            ),
            ("DeploymentsCooling",),
        ),
    ),
)

COST = PanelRow(
    "Cost, tokens and budgets",
    (
        Panel(
            "Cost an hour by model",
            "currencyUSD",
            "At the rate of the last minutes; corrections are left out.",
            (
                PanelQuery(
                    f"3600 * {rate('ledger_cost_usd_total', 'model', OF_MODEL)}", "{{model}}"
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Tokens by class",
            "ops",
            "Tokens a second of posted calls. Classes are those that prices have rates for.",
            (PanelQuery(rate("ledger_tokens_total", "token_class", OF_MODEL), "{{token_class}}"),),
            stacked=True,
        ),
        Panel(
            "Tokens by model",
            "ops",
            "Tokens a second of posted calls, all classes.",
            (PanelQuery(rate("ledger_tokens_total", "model", OF_MODEL), "{{model}}"),),
            stacked=True,
        ),
        Panel(
            "Tokens of a call",
            "short",
            "Mean of posted calls: input with cached tokens, output with reasoning.",
            (
                PanelQuery(
                    mean("gen_ai_client_token_usage", "gen_ai_token_type", GEN_AI),
                    "{{gen_ai_token_type}}",
                ),
            ),
        ),
        Panel(
            "Holds",
            "short",
            "Holds of calls under way, of each gateway.",
            (PanelQuery(gauge("gateway_holds_open", "instance"), "{{instance}}"),),
        ),
        Panel(
            "Budgets",
            "reqps",
            "Calls refused for a budget that is used up, admitted above a soft limit, and admitted "
            "while Redis was away, when each gateway counts for itself.",
            (
                PanelQuery(
                    rate("gateway_refused_total", where='reason="budget_exceeded"'), "refused"
                ),
                PanelQuery(rate("gateway_budget_warnings_total"), "soft limit"),
                PanelQuery(rate("gateway_admitted_without_redis_total"), "without Redis"),
            ),
            ("BudgetRefusals", "AdmittedWithoutRedis"),
        ),
    ),
)

ROWS = (MODELS, COST)
