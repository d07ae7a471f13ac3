"""OpenAI Chat Completions, in both directions."""
