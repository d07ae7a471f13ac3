"""Changes a legal request into one that is legal at its target, too.

Providers refuse combinations that each format allows. A rule is a pure function that knows one of
them; the tables below say which rules hold for a family, in the order in which they are applied,
and what each is about.
"""

from collections.abc import Callable
from functools import lru_cache

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.mender import (
    bedrock,
    gemini,
    library,
    options,
    results,
    sampling,
    thinking,
    turns,
)
from services.gateway.upstream.translation.mender.aim import Aim
from services.gateway.upstream.translation.mender.cache_marks import cache_marks
from services.gateway.upstream.translation.mender.concerns import (
    ANYTHING,
    HISTORY,
    LABELS,
    SAMPLING,
    SHAPE,
    THINKING,
    TOOLS,
    concerns_of,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report

Rule = Callable[[Request, Aim], Request]

# For everybody, before and after those of the family.
FIRST: tuple[Rule, ...] = (
    turns.foreign_thinking,
    turns.foreign_searches,
    turns.foreign_members,
    options.output_limit,
    options.stored_searches,
    options.known_choice,
    options.forced_tools,
    options.namespaces,
    thinking.thinking_without_ability,
)
LAST: tuple[Rule, ...] = (
    sampling.refused_sampling,
    sampling.lacking_sampling,
    options.strict_tools,
    options.strict_shape,
    options.labels,
    cache_marks,
)
OF_CLAUDE: tuple[Rule, ...] = (
    thinking.thinking_in_tokens,
    thinking.thinking_amid_tools,
    thinking.thinking_and_forced_tools,
    thinking.budget_within_limit,
    thinking.thinking_and_sampling,
    thinking.effort_without_thinking,
    sampling.one_way_of_sampling,
    options.unnamed_shape,
    options.json_mode,
    turns.a_users_turn,
)
OF_OPENAI_IN_CHAT: tuple[Rule, ...] = (
    turns.billing_line,
    thinking.thinking_in_words,
    thinking.tools_in_chat,
    sampling.sampling_while_thinking,
    options.metadata,
)
OF_OPENAI_IN_RESPONSES: tuple[Rule, ...] = (
    turns.billing_line,
    turns.orphaned_thinking,
    thinking.thinking_in_words,
    sampling.sampling_while_thinking,
    options.metadata,
)
OF_OTHERS: tuple[Rule, ...] = (
    turns.billing_line,
    thinking.thinking_in_words,
    options.verbosity,
)
# Servers that speak Anthropic's format are told of thinking as Claude is.
OF_OTHERS_IN_MESSAGES: tuple[Rule, ...] = (
    turns.billing_line,
    thinking.thinking_in_tokens,
    thinking.budget_within_limit,
    options.verbosity,
)
# Before and after those of the family, where LiteLLM carries the call: what it would lose, invent
# or send in other words.
OF_LIBRARY: tuple[Rule, ...] = (
    library.whole_arguments,
    library.default_choice,
)
OF_GEMINI: tuple[Rule, ...] = (
    turns.billing_line,
    turns.a_users_turn,
    gemini.sent_pictures,
    library.parallel_tool_calls,
    gemini.shape_beside_tools,
    gemini.always_strict_shape,
    options.unnamed_shape,
    gemini.known_schemas,
    gemini.equal_calls,
    gemini.results_in_order,
    gemini.thinking_for_gemini,
    options.verbosity,
)
OF_BEDROCK: tuple[Rule, ...] = (
    bedrock.carried_parts,
    bedrock.no_choice,
    bedrock.tools_of_history,
)
OF_BEDROCKS_OTHERS: tuple[Rule, ...] = (
    *OF_OTHERS,
    turns.a_users_turn,
    library.parallel_tool_calls,
    options.json_mode,
)
# What only some targets need, by the field of the profile that says so.
OF_STRICT_TURNS: tuple[Rule, ...] = (turns.alternation,)
OF_ONE_SYSTEM: tuple[Rule, ...] = (turns.system_inside,)
OF_CHECKED_RESULTS: tuple[Rule, ...] = (results.matched_results,)


# Every other rule is about anything.
ABOUT: dict[Rule, int] = {
    turns.foreign_thinking: HISTORY,
    turns.foreign_searches: HISTORY,
    turns.foreign_members: HISTORY,
    turns.orphaned_thinking: HISTORY,
    results.matched_results: HISTORY,
    options.stored_searches: TOOLS,
    options.known_choice: TOOLS,
    options.forced_tools: TOOLS,
    options.namespaces: TOOLS,
    options.strict_tools: TOOLS,
    thinking.tools_in_chat: TOOLS,
    thinking.thinking_without_ability: THINKING,
    thinking.thinking_in_tokens: THINKING,
    thinking.thinking_in_words: THINKING,
    thinking.thinking_amid_tools: THINKING,
    thinking.thinking_and_forced_tools: THINKING,
    thinking.budget_within_limit: THINKING,
    thinking.thinking_and_sampling: THINKING,
    thinking.effort_without_thinking: THINKING,
    sampling.refused_sampling: SAMPLING,
    sampling.lacking_sampling: SAMPLING,
    sampling.one_way_of_sampling: SAMPLING,
    sampling.sampling_while_thinking: SAMPLING,
    options.unnamed_shape: SHAPE,
    options.json_mode: SHAPE,
    options.strict_shape: SHAPE,
    options.labels: LABELS,
    options.metadata: LABELS,
}
_MAX_CACHED = 1_000


def mend(request: Request, profile: Profile, report: Report, to: ClientFormat) -> Request:
    """Mends a request for a target that is called in the format `to`.

    Raises UnsupportedField or InvalidRequest by the path of what cannot be mended.
    """
    aim = Aim(profile, report, to)
    concerns = concerns_of(request)
    for rule, about in _rules_and_concerns(profile, to):
        if about & concerns:
            mended = rule(request, aim)
            if mended is not request:
                request, concerns = mended, concerns_of(mended)
    return request


@lru_cache(maxsize=_MAX_CACHED)
def _rules_and_concerns(profile: Profile, to: ClientFormat) -> tuple[tuple[Rule, int], ...]:
    return tuple((rule, ABOUT.get(rule, ANYTHING)) for rule in rules_for(profile, to))


def rules_for(profile: Profile, to: ClientFormat) -> tuple[Rule, ...]:
    if profile.library is not None:
        family_rules = _rules_of_library(profile)
    elif profile.family == "anthropic":
        family_rules = OF_CLAUDE
    elif profile.family == "openai":
        family_rules = OF_OPENAI_IN_CHAT if to == "chat" else OF_OPENAI_IN_RESPONSES
    else:
        family_rules = OF_OTHERS_IN_MESSAGES if to == "messages" else OF_OTHERS
    rules = FIRST + family_rules + LAST
    if not profile.takes_system_inside:
        rules += OF_ONE_SYSTEM
    if profile.alternates:
        rules += OF_STRICT_TURNS
    if profile.checks_results:
        rules += OF_CHECKED_RESULTS
    return rules


def _rules_of_library(profile: Profile) -> tuple[Rule, ...]:
    is_bedrock = profile.library == "bedrock"
    if profile.family == "google":
        family_rules = OF_GEMINI
    elif profile.family == "anthropic":
        family_rules = OF_CLAUDE
    elif profile.family == "openai":
        family_rules = OF_OPENAI_IN_CHAT
    else:
        family_rules = OF_BEDROCKS_OTHERS if is_bedrock else OF_OTHERS
    return OF_LIBRARY + (OF_BEDROCK if is_bedrock else ()) + family_rules
