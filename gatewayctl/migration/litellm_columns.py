"""The columns of LiteLLM's tables that are not text, and why some of them stay behind."""

from collections.abc import Mapping

from gatewayctl.migration.columns import SourceKind

TEAMS = "LiteLLM_TeamTable"
USERS = "LiteLLM_UserTable"
KEYS = "LiteLLM_VerificationToken"
BUDGETS = "LiteLLM_BudgetTable"
ORGANIZATIONS = "LiteLLM_OrganizationTable"
MODELS = "LiteLLM_ProxyModelTable"
TABLES = (BUDGETS, ORGANIZATIONS, TEAMS, USERS, KEYS, MODELS)

# Rows that say what the gateway does; of other tables they are history, or features not here.
OTHER_TABLES = {
    "LiteLLM_EndUserTable": "there are no end users with budgets of their own: tag calls instead",
    "LiteLLM_TeamMembership": "a member's budget within a team: give the key a budget",
    "LiteLLM_OrganizationMembership": "people are made with gatewayctl people",
    "LiteLLM_ProjectTable": "there are no projects: make an account of each",
    "LiteLLM_CredentialsTable": "it is encrypted: give credentials to the gateway's environment",
    "LiteLLM_Config": "it is the proxy's own: put it into config.yaml",
    "LiteLLM_ModelTable": "a team's own names of models",
    "LiteLLM_SpendLogs": "the history of calls stays where it is",
}
HISTORY = "is not read: history, or a feature that is not here"

_COMMON: dict[str, SourceKind] = {
    "metadata": "json", "models": "list", "spend": "number", "total_spend": "number",
    "max_budget": "number", "soft_budget": "number", "tpm_limit": "number", "rpm_limit": "number",
    "tpd_limit": "number", "max_parallel_requests": "number", "model_spend": "json",
    "model_max_budget": "json", "budget_reset_at": "time", "created_at": "time",
    "updated_at": "time", "blocked": "flag", "policies": "list", "access_group_ids": "list",
    "allowed_cache_controls": "list", "router_settings": "json", "budget_limits": "json",
}  # fmt: skip
KINDS: dict[str, Mapping[str, SourceKind]] = {
    BUDGETS: {
        **_COMMON, "allowed_models": "list", "temp_budget_increase": "number",
        "temp_budget_expiry": "time",
    },
    ORGANIZATIONS: _COMMON,
    TEAMS: {
        **_COMMON, "admins": "list", "members": "list", "members_with_roles": "json",
        "team_member_permissions": "list", "default_team_member_models": "list",
        "allow_team_guardrail_config": "flag",
    },
    USERS: {
        **_COMMON, "teams": "list", "password_reset_required": "flag",
        "last_breach_check_at": "time",
    },
    KEYS: {
        **_COMMON, "soft_budget_cooldown": "flag", "expires": "time", "aliases": "json",
        "config": "json", "permissions": "json", "allowed_routes": "list",
        "budget_fallbacks": "json", "settings_updated_at": "time", "last_active": "time",
        "rotation_count": "number", "auto_rotate": "flag", "last_rotation_at": "time",
        "key_rotation_at": "time",
    },
    MODELS: {**_COMMON, "litellm_params": "json", "model_info": "json"},
}  # fmt: skip

_OWN = "rows here have times and authors of their own"
_PER_MODEL = "budgets and limits are for all models together"
_PEOPLE = "people are made with gatewayctl people; an account has no members"
REASONS = {
    "created_at": _OWN, "created_by": _OWN, "updated_at": _OWN, "updated_by": _OWN,
    "settings_updated_at": _OWN, "last_active": "is known again from the first call on",
    "model_spend": _PER_MODEL, "model_max_budget": _PER_MODEL, "budget_limits": _PER_MODEL,
    "budget_fallbacks": _PER_MODEL, "tpd_limit": "there are no limits per day",
    "admins": _PEOPLE, "members": _PEOPLE, "members_with_roles": _PEOPLE, "teams": _PEOPLE,
    "user_role": _PEOPLE, "sso_user_id": _PEOPLE, "password": _PEOPLE, "team_id": _PEOPLE,
    "team_member_permissions": _PEOPLE, "total_spend": "what the account spent is carried",
    "access_group_ids": "name the models: allowed_models", "policies": "no policies here",
    "aliases": "names of models are routes, the same for all keys",
    "model_id": "names of models are routes, the same for all keys",
    "allowed_routes": "a key may use every endpoint for models",
    "key_type": "a key is for calls to models alone; people have admin keys",
    "auto_rotate": "gatewayctl keys rotate, from a job of your own",
    "rotation_interval": "gatewayctl keys rotate, from a job of your own",
    "router_settings": "settings of routes are the same for all",
    "temp_budget_increase": "raise the budget, and lower it later",
    "temp_budget_expiry": "raise the budget, and lower it later",
}  # fmt: skip
