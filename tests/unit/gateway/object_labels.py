"""Fields of requests that look like those of objects, and name nothing that a provider keeps."""

from collections.abc import Mapping

from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.object_fields import ANY

# By the member that holds them.
LABELS: Mapping[ClientFormat, frozenset[tuple[str, str]]] = {
    "chat": frozenset(
        {
            # Within the conversation that the request carries.
            (ANY, "tool_call_id"),
            ("tool_calls", "id"),
            # The client's own names of users, tools, files and cached prefixes.
            (ANY, "name"),
            ("file", "filename"),
            ("file", "file_data"),
            ("", "prompt_cache_key"),
            ("", "safety_identifier"),
            # One of the provider's public voices; a custom one is an object with an id.
            ("audio", "voice"),
        }
    ),
    "messages": frozenset(
        {
            # Within the conversation that the request carries.
            ("content", "id"),
            ("caller", "tool_id"),
            (ANY, "tool_use_id"),
            # Tools and MCP servers that the same request defines.
            (ANY, "name"),
            (ANY, "tool_name"),
            (ANY, "toolset_name"),
            (ANY, "mcp_server_name"),
            (ANY, "server_name"),
            ("mcp_servers", "authorization_token"),
            # Tabs and downloads of the client's own browser.
            (ANY, "download_id"),
            (ANY, "tab_id"),
            # The end user, by a name of the client's.
            ("metadata", "user_id"),
            # Signed by the provider, and good for the very same prompt only.
            ("", "fallback_credit_token"),
            ("fallback_credit_token", "token"),
        }
    ),
    "responses": frozenset(
        {
            # Within the conversation that the request carries.
            (ANY, "call_id"),
            (ANY, "caller_id"),
            (ANY, "approval_request_id"),
            ("acknowledged_safety_checks", "id"),
            ("pending_safety_checks", "id"),
            ("logprobs", "token"),
            ("top_logprobs", "token"),
            # Agents, tools and MCP servers that the same request defines.
            (ANY, "agent_name"),
            (ANY, "name"),
            (ANY, "namespace"),
            (ANY, "server_label"),
            (ANY, "tool_names"),
            # The client's own names of files, cached prefixes and users.
            (ANY, "filename"),
            (ANY, "file_data"),
            (ANY, "file_url"),
            ("", "prompt_cache_key"),
            ("", "safety_identifier"),
            ("prompt", "version"),
            # Of attributes by which a file search filters, and of a keyboard.
            (ANY, "key"),
            # What an image was made from, in words.
            ("input", "revised_prompt"),
            # Groups calls in the background, which the gateway refuses.
            ("background_options", "continuation_id"),
        }
    ),
    "embeddings": frozenset(),
}
