from services.gateway.upstream.http.certificates import read_to_verify

with read_to_verify():
    import aiohttp  # noqa: F401
