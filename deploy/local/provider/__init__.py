"""A scripted stand-in for a model provider: three formats, deterministic answers, an oracle.

It answers when no provider key is set, and tests and benchmarks script it and then ask it what it
served. It holds no model and says so in every response.
"""
