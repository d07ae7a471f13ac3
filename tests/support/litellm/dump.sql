--
-- PostgreSQL database dump
--

\restrict Oayb4RvPglybDaYb9qpZMRp2XQ5l0MZUPhOLLI3aiQENPuwJ1upbzzeEnLeCLY4

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: LiteLLM_BudgetTable; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public."LiteLLM_BudgetTable" (
    budget_id text NOT NULL,
    max_budget double precision,
    soft_budget double precision,
    max_parallel_requests integer,
    tpm_limit bigint,
    rpm_limit bigint,
    tpd_limit bigint,
    model_max_budget jsonb,
    budget_duration text,
    budget_reset_at timestamp(3) without time zone,
    allowed_models text[] DEFAULT ARRAY[]::text[],
    temp_budget_increase double precision,
    temp_budget_expiry timestamp(3) without time zone,
    created_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    created_by text NOT NULL,
    updated_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_by text NOT NULL
);


--
-- Name: LiteLLM_EndUserTable; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public."LiteLLM_EndUserTable" (
    user_id text NOT NULL,
    alias text,
    spend double precision DEFAULT 0.0 NOT NULL,
    allowed_model_region text,
    default_model text,
    models text[] DEFAULT ARRAY[]::text[],
    budget_id text,
    object_permission_id text,
    blocked boolean DEFAULT false NOT NULL
);


--
-- Name: LiteLLM_OrganizationTable; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public."LiteLLM_OrganizationTable" (
    organization_id text NOT NULL,
    organization_alias text NOT NULL,
    budget_id text NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    models text[],
    spend double precision DEFAULT 0.0 NOT NULL,
    model_spend jsonb DEFAULT '{}'::jsonb NOT NULL,
    object_permission_id text,
    created_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    created_by text NOT NULL,
    updated_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_by text NOT NULL
);


--
-- Name: LiteLLM_ProxyModelTable; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public."LiteLLM_ProxyModelTable" (
    model_id text NOT NULL,
    model_name text NOT NULL,
    litellm_params jsonb NOT NULL,
    model_info jsonb,
    blocked boolean DEFAULT false NOT NULL,
    created_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    created_by text NOT NULL,
    updated_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_by text NOT NULL
);


--
-- Name: LiteLLM_SpendLogs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public."LiteLLM_SpendLogs" (
    request_id text NOT NULL,
    call_type text NOT NULL,
    api_key text NOT NULL,
    spend double precision DEFAULT 0.0 NOT NULL,
    total_tokens integer DEFAULT 0 NOT NULL,
    prompt_tokens integer DEFAULT 0 NOT NULL,
    completion_tokens integer DEFAULT 0 NOT NULL,
    "startTime" timestamp(3) without time zone NOT NULL,
    "endTime" timestamp(3) without time zone NOT NULL,
    request_duration_ms integer,
    "completionStartTime" timestamp(3) without time zone,
    model text DEFAULT ''::text NOT NULL,
    model_id text DEFAULT ''::text,
    model_group text DEFAULT ''::text,
    custom_llm_provider text DEFAULT ''::text,
    api_base text DEFAULT ''::text,
    "user" text DEFAULT ''::text,
    metadata jsonb DEFAULT '{}'::jsonb,
    cache_hit text DEFAULT ''::text,
    cache_key text DEFAULT ''::text,
    request_tags jsonb DEFAULT '[]'::jsonb,
    team_id text,
    organization_id text,
    end_user text,
    requester_ip_address text,
    messages jsonb DEFAULT '{}'::jsonb,
    response jsonb DEFAULT '{}'::jsonb,
    session_id text,
    status text,
    mcp_namespaced_tool_name text,
    billing_agent_id text,
    agent_id text,
    proxy_server_request jsonb DEFAULT '{}'::jsonb,
    litellm_call_id text,
    created_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);


--
-- Name: LiteLLM_TeamMembership; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public."LiteLLM_TeamMembership" (
    user_id text NOT NULL,
    team_id text NOT NULL,
    spend double precision DEFAULT 0.0 NOT NULL,
    total_spend double precision DEFAULT 0.0 NOT NULL,
    budget_id text
);


--
-- Name: LiteLLM_TeamTable; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public."LiteLLM_TeamTable" (
    team_id text NOT NULL,
    team_alias text,
    organization_id text,
    object_permission_id text,
    admins text[],
    members text[],
    members_with_roles jsonb DEFAULT '{}'::jsonb NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    max_budget double precision,
    soft_budget double precision,
    spend double precision DEFAULT 0.0 NOT NULL,
    models text[],
    max_parallel_requests integer,
    tpm_limit bigint,
    rpm_limit bigint,
    tpd_limit bigint,
    budget_duration text,
    budget_reset_at timestamp(3) without time zone,
    blocked boolean DEFAULT false NOT NULL,
    created_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    model_spend jsonb DEFAULT '{}'::jsonb NOT NULL,
    model_max_budget jsonb DEFAULT '{}'::jsonb NOT NULL,
    router_settings jsonb DEFAULT '{}'::jsonb,
    team_member_permissions text[] DEFAULT ARRAY[]::text[],
    access_group_ids text[] DEFAULT ARRAY[]::text[],
    policies text[] DEFAULT ARRAY[]::text[],
    default_team_member_models text[] DEFAULT ARRAY[]::text[],
    budget_limits jsonb,
    model_id integer,
    allow_team_guardrail_config boolean DEFAULT false NOT NULL
);


--
-- Name: LiteLLM_UserTable; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public."LiteLLM_UserTable" (
    user_id text NOT NULL,
    user_alias text,
    team_id text,
    sso_user_id text,
    organization_id text,
    object_permission_id text,
    password text,
    password_reset_required boolean,
    last_breach_check_at timestamp(3) without time zone,
    teams text[] DEFAULT ARRAY[]::text[],
    user_role text,
    max_budget double precision,
    spend double precision DEFAULT 0.0 NOT NULL,
    user_email text,
    models text[],
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    max_parallel_requests integer,
    tpm_limit bigint,
    rpm_limit bigint,
    budget_duration text,
    budget_reset_at timestamp(3) without time zone,
    allowed_cache_controls text[] DEFAULT ARRAY[]::text[],
    policies text[] DEFAULT ARRAY[]::text[],
    model_spend jsonb DEFAULT '{}'::jsonb NOT NULL,
    model_max_budget jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP
);


--
-- Name: LiteLLM_VerificationToken; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public."LiteLLM_VerificationToken" (
    token text NOT NULL,
    key_name text,
    key_alias text,
    soft_budget_cooldown boolean DEFAULT false NOT NULL,
    spend double precision DEFAULT 0.0 NOT NULL,
    total_spend double precision DEFAULT 0.0 NOT NULL,
    expires timestamp(3) without time zone,
    models text[],
    aliases jsonb DEFAULT '{}'::jsonb NOT NULL,
    config jsonb DEFAULT '{}'::jsonb NOT NULL,
    router_settings jsonb DEFAULT '{}'::jsonb,
    user_id text,
    team_id text,
    agent_id text,
    project_id text,
    permissions jsonb DEFAULT '{}'::jsonb NOT NULL,
    max_parallel_requests integer,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    blocked boolean,
    tpm_limit bigint,
    rpm_limit bigint,
    tpd_limit bigint,
    max_budget double precision,
    budget_duration text,
    budget_reset_at timestamp(3) without time zone,
    allowed_cache_controls text[] DEFAULT ARRAY[]::text[],
    allowed_routes text[] DEFAULT ARRAY[]::text[],
    key_type text,
    policies text[] DEFAULT ARRAY[]::text[],
    access_group_ids text[] DEFAULT ARRAY[]::text[],
    model_spend jsonb DEFAULT '{}'::jsonb NOT NULL,
    model_max_budget jsonb DEFAULT '{}'::jsonb NOT NULL,
    budget_fallbacks jsonb DEFAULT '{}'::jsonb NOT NULL,
    budget_id text,
    organization_id text,
    object_permission_id text,
    created_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP,
    created_by text,
    updated_at timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP,
    updated_by text,
    settings_updated_at timestamp(3) without time zone,
    last_active timestamp(3) without time zone,
    rotation_count integer DEFAULT 0,
    auto_rotate boolean DEFAULT false,
    rotation_interval text,
    last_rotation_at timestamp(3) without time zone,
    key_rotation_at timestamp(3) without time zone,
    budget_limits jsonb
);


--
-- Data for Name: LiteLLM_BudgetTable; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public."LiteLLM_BudgetTable" (budget_id, max_budget, soft_budget, max_parallel_requests, tpm_limit, rpm_limit, tpd_limit, model_max_budget, budget_duration, budget_reset_at, allowed_models, temp_budget_increase, temp_budget_expiry, created_at, created_by, updated_at, updated_by) FROM stdin;
budget-small	2.5	\N	\N	\N	30	\N	\N	24h	\N	{}	\N	\N	2026-11-29 16:18:25.202	admin	2026-11-29 16:18:25.202	admin
budget-org	500	\N	\N	\N	\N	\N	\N	30d	\N	{}	\N	\N	2026-11-29 16:18:25.202	admin	2026-11-29 16:18:25.202	admin
\.


--
-- Data for Name: LiteLLM_EndUserTable; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public."LiteLLM_EndUserTable" (user_id, alias, spend, allowed_model_region, default_model, models, budget_id, object_permission_id, blocked) FROM stdin;
customer-1	\N	0	\N	\N	{}	\N	\N	f
\.


--
-- Data for Name: LiteLLM_OrganizationTable; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public."LiteLLM_OrganizationTable" (organization_id, organization_alias, budget_id, metadata, models, spend, model_spend, object_permission_id, created_at, created_by, updated_at, updated_by) FROM stdin;
org-1	Forschung & Lehre	budget-org	{}	{}	0	{}	\N	2026-11-29 16:18:25.224	admin	2026-11-29 16:18:25.224	admin
\.


--
-- Data for Name: LiteLLM_ProxyModelTable; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public."LiteLLM_ProxyModelTable" (model_id, model_name, litellm_params, model_info, blocked, created_at, created_by, updated_at, updated_by) FROM stdin;
m-1	from-the-database	{"model": "gAAAAAB-encrypted"}	\N	f	2026-11-29 16:18:25.303	admin	2026-11-29 16:18:25.303	admin
\.


--
-- Data for Name: LiteLLM_SpendLogs; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public."LiteLLM_SpendLogs" (request_id, call_type, api_key, spend, total_tokens, prompt_tokens, completion_tokens, "startTime", "endTime", request_duration_ms, "completionStartTime", model, model_id, model_group, custom_llm_provider, api_base, "user", metadata, cache_hit, cache_key, request_tags, team_id, organization_id, end_user, requester_ip_address, messages, response, session_id, status, mcp_namespaced_tool_name, billing_agent_id, agent_id, proxy_server_request, litellm_call_id, created_at, updated_at) FROM stdin;
\.


--
-- Data for Name: LiteLLM_TeamMembership; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public."LiteLLM_TeamMembership" (user_id, team_id, spend, total_spend, budget_id) FROM stdin;
ada	team-legacy	0	0	budget-small
\.


--
-- Data for Name: LiteLLM_TeamTable; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public."LiteLLM_TeamTable" (team_id, team_alias, organization_id, object_permission_id, admins, members, members_with_roles, metadata, max_budget, soft_budget, spend, models, max_parallel_requests, tpm_limit, rpm_limit, tpd_limit, budget_duration, budget_reset_at, blocked, created_at, updated_at, model_spend, model_max_budget, router_settings, team_member_permissions, access_group_ids, policies, default_team_member_models, budget_limits, model_id, allow_team_guardrail_config) FROM stdin;
7e5e2c5e-8a32-4b35-9c8a-0c6f1b7a1d11	Forschung – Gruppe "Ω"	org-1	\N	\N	\N	[{"role": "admin", "user_id": "ada"}]	{"guardrails": ["pii"], "cost-center": "4711"}	100	80	12.340000000000002	{}	20	100000	600	\N	30d	2026-12-01 00:00:00	f	2026-11-29 16:18:25.238	2026-11-29 16:18:25.238	{"smart": 12.34}	{}	{}	{}	{}	{}	{}	\N	\N	f
team-legacy	Legacy	\N	\N	\N	\N	{}	{}	1000	\N	0	{smart,beta-models}	\N	\N	\N	\N	7d	\N	f	2026-11-29 16:18:25.238	2026-11-29 16:18:25.238	{}	{}	{}	{}	{}	{}	{}	\N	\N	f
team-blocked	Blocked	\N	\N	\N	\N	{}	{}	-5	\N	0	\N	\N	\N	\N	\N	\N	\N	t	2026-11-29 16:18:25.248	2026-11-29 16:18:25.248	{}	{}	{}	{}	{}	{}	{}	\N	\N	f
\.


--
-- Data for Name: LiteLLM_UserTable; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public."LiteLLM_UserTable" (user_id, user_alias, team_id, sso_user_id, organization_id, object_permission_id, password, password_reset_required, last_breach_check_at, teams, user_role, max_budget, spend, user_email, models, metadata, max_parallel_requests, tpm_limit, rpm_limit, budget_duration, budget_reset_at, allowed_cache_controls, policies, model_spend, model_max_budget, created_at, updated_at) FROM stdin;
ada	Ada	\N	\N	\N	\N	\N	\N	\N	{7e5e2c5e-8a32-4b35-9c8a-0c6f1b7a1d11}	proxy_admin	10	0.75	ada@example.com	{}	{}	\N	\N	\N	1d	\N	{}	{}	{}	{}	2026-11-29 16:18:25.266	2026-11-29 16:18:25.266
grace hopper	\N	\N	\N	\N	\N	\N	\N	\N	{}	internal_user	\N	0	\N	{}	{}	\N	\N	\N	\N	\N	{}	{}	{}	{}	2026-11-29 16:18:25.266	2026-11-29 16:18:25.266
litellm-proxy-budget	\N	\N	\N	\N	\N	\N	\N	\N	{}	\N	5000	13.09	\N	{}	{}	\N	\N	\N	30d	\N	{}	{}	{}	{}	2026-11-29 16:18:25.266	2026-11-29 16:18:25.266
\.


--
-- Data for Name: LiteLLM_VerificationToken; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public."LiteLLM_VerificationToken" (token, key_name, key_alias, soft_budget_cooldown, spend, total_spend, expires, models, aliases, config, router_settings, user_id, team_id, agent_id, project_id, permissions, max_parallel_requests, metadata, blocked, tpm_limit, rpm_limit, tpd_limit, max_budget, budget_duration, budget_reset_at, allowed_cache_controls, allowed_routes, key_type, policies, access_group_ids, model_spend, model_max_budget, budget_fallbacks, budget_id, organization_id, object_permission_id, created_at, created_by, updated_at, updated_by, settings_updated_at, last_active, rotation_count, auto_rotate, rotation_interval, last_rotation_at, key_rotation_at, budget_limits) FROM stdin;
14112a3a741786d4a60f99315593f7d354a7f277bf134ba07975cf5283e04a6c	sk-...1c2a	research-ci	f	2.34	0	\N	{smart}	{}	{}	{}	ada	7e5e2c5e-8a32-4b35-9c8a-0c6f1b7a1d11	\N	\N	{}	\N	{"tags": ["ci"]}	\N	\N	120	\N	20	\N	\N	{}	{}	\N	{}	{}	{}	{}	{}	\N	\N	\N	2026-03-01 08:00:00.5	\N	2026-11-29 16:18:25.283	\N	\N	\N	0	f	\N	\N	\N	\N
3baaa7cc8c8de4fc1d5fb9915f9342756aa5c9e441ccf6d430baec5fc69d0162	sk-...9d2e	research-claude	f	10	0	2031-01-01 00:00:00	{all-team-models}	{}	{}	{}	\N	7e5e2c5e-8a32-4b35-9c8a-0c6f1b7a1d11	\N	\N	{}	\N	{}	\N	\N	\N	\N	\N	\N	\N	{}	{}	\N	{}	{}	{}	{}	{}	budget-small	\N	\N	2026-03-02 08:00:00	\N	2026-11-29 16:18:25.283	\N	\N	\N	0	f	\N	\N	\N	\N
e10ab493594fd82293744e1835d358a45d16a63262c656b2ff3452e4e92b55c3	sk-...77aa	\N	f	0.75	0	\N	{}	{}	{}	{}	ada	\N	\N	\N	{}	\N	{}	\N	\N	\N	\N	\N	\N	\N	{}	{}	\N	{}	{}	{}	{}	{}	\N	\N	\N	2026-03-03 08:00:00	\N	2026-11-29 16:18:25.283	\N	\N	\N	0	f	\N	\N	\N	\N
5b583ff4f27893168938cd28435905e0d361cda71eff1d72238dae0c762a24ad	sk-...0b0b	legacy	f	0	0	\N	{smart,gpt-4o,cheap}	{}	{}	{}	\N	team-legacy	\N	\N	{}	\N	{}	\N	\N	\N	\N	\N	\N	\N	{}	{}	\N	{}	{}	{}	{}	{}	\N	\N	\N	2026-03-04 08:00:00	\N	2026-11-29 16:18:25.283	\N	\N	\N	0	f	\N	\N	\N	\N
955e526102b7d89f4707360c89752056bd20c8db76de0d39626504559dcc1096	sk-...5e5e	nobody	f	0.5	0	\N	{}	{}	{}	{}	\N	\N	\N	\N	{}	\N	{}	\N	\N	\N	\N	1	\N	\N	{}	{}	\N	{}	{}	{}	{}	{}	\N	\N	\N	2026-03-05 08:00:00	\N	2026-11-29 16:18:25.283	\N	\N	\N	0	f	\N	\N	\N	\N
46ed2347ec9c21035e5d0bb9839280b23f22b2a53448c4bef8d900af6b8f8bb9	sk-...ed-1	expired	f	0	0	2026-01-01 00:00:00	{}	{}	{}	{}	ada	\N	\N	\N	{}	\N	{}	\N	\N	\N	\N	\N	\N	\N	{}	{}	\N	{}	{}	{}	{}	{}	\N	\N	\N	2025-03-05 08:00:00	\N	2026-11-29 16:18:25.283	\N	\N	\N	0	f	\N	\N	\N	\N
f8fd4a885b2b71cc5f2c3e1e07947138cc52534623b2ff3b5403f90df35e2507	sk-...rd-1	\N	f	0	0	2031-01-01 00:00:00	{}	{}	{}	{}	ada	litellm-dashboard	\N	\N	{}	\N	{}	\N	\N	\N	\N	\N	\N	\N	{}	{}	\N	{}	{}	{}	{}	{}	\N	\N	\N	2026-03-05 08:00:00	\N	2026-11-29 16:18:25.283	\N	\N	\N	0	f	\N	\N	\N	\N
d7eb6d7ffebcbe8fb23014471798814faec7c32e14c6f78c3d88fdcb582e4966	\N	blocked\tand\nodd	f	0	0	\N	{}	{}	{}	{}	ada	\N	\N	\N	{}	\N	{}	t	\N	\N	\N	\N	\N	\N	{}	{}	\N	{}	{}	{}	{}	{}	\N	\N	\N	2026-11-29 16:18:25.29	\N	2026-11-29 16:18:25.29	\N	\N	\N	0	f	\N	\N	\N	\N
\.


--
-- PostgreSQL database dump complete
--

\unrestrict Oayb4RvPglybDaYb9qpZMRp2XQ5l0MZUPhOLLI3aiQENPuwJ1upbzzeEnLeCLY4

