"""Serves a client's format from a provider that does not speak it, through LiteLLM."""
