from libs.common.hidden_packages import hidden

with hidden("cryptography", half_made="jwt"):
    import redis.asyncio  # noqa: F401
