# One image per service: docker build --target gateway|admin|ledger_worker .
# Buildah 1.28 and later builds it too: buildah build --format docker, whose images keep HEALTHCHECK.
# Another BASE must bring Python 3.11 to 3.13; `make pin-images` prints this one with its digest.
ARG BASE=python:3.13-slim

# --- Builders: the locked requirements of each service in a virtual environment ---

FROM ${BASE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /build
# pip installs into /venv from outside, so that what is copied on has none.
RUN python -m venv /tools \
    && python -m venv --without-pip /venv
ENV PATH=/venv/bin:$PATH

FROM builder AS gateway-builder
COPY requirements/gateway.txt .
# The price map is copied out as plain data, for the services that do not install litellm. Its proxy's
# web pages are not served here, and most of its bytecode would not be used: see below.
RUN /tools/bin/pip --python /venv/bin/python install --no-compile --no-deps --require-hashes -r gateway.txt \
    && litellm="$(python -c 'import importlib.util as u; print(u.find_spec("litellm").submodule_search_locations[0])')" \
    && cp "$litellm/model_prices_and_context_window_backup.json" price_map.json \
    && rm -r "$litellm/proxy/_experimental/out" "$litellm/proxy/swagger"

FROM builder AS admin-builder
COPY requirements/admin.txt .
RUN /tools/bin/pip --python /venv/bin/python install --no-deps --require-hashes -r admin.txt

FROM builder AS worker-builder
COPY requirements/worker.txt .
RUN /tools/bin/pip --python /venv/bin/python install --no-deps --require-hashes -r worker.txt

# --- Images: a virtual environment, the shared library and one service ---

FROM ${BASE} AS runtime
# LiteLLM reads its bundled price map and never fetches one.
ENV HOME=/tmp \
    LITELLM_LOCAL_MODEL_COST_MAP=True \
    PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# What installs packages has no use here.
RUN python -c 'import shutil, sysconfig as s; from pathlib import Path as P; \
pure, std = P(s.get_path("purelib")), P(s.get_path("stdlib")); \
gone = [*pure.glob("pip*"), *pure.glob("setuptools*"), *pure.glob("wheel*"), std / "ensurepip"]; \
[shutil.rmtree(path, ignore_errors=True) for path in gone]' \
    && rm -rf /usr/local/bin/pip* /usr/share/python-wheels
# The base has no bytecode of the standard library: each start and each health check would compile it.
# Not all of Python's own tests compile; python:3.13-slim has none, but another base may.
RUN python -m compileall -q -x '/tests?/' "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
RUN groupadd --system --gid 10001 app \
    && useradd --system --uid 10001 --gid app --no-create-home --home-dir /tmp app
WORKDIR /app
COPY libs libs
COPY services/__init__.py services/__init__.py
RUN python -m compileall -q libs services
STOPSIGNAL SIGTERM
# Of libs/common/version.py, and the commit.
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.vendor="litellm-gateway" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

FROM runtime AS admin
LABEL org.opencontainers.image.title="litellm-gateway/admin" \
    org.opencontainers.image.description="Accounts, keys, prices, usage and the console of the LLM gateway"
ENV ADMIN_HOST=0.0.0.0 \
    ADMIN_PORT=8001 \
    PRICE_MAP_PATH=/app/price_map.json
COPY --from=admin-builder /venv /venv
COPY --from=gateway-builder /build/price_map.json price_map.json
COPY services/admin services/admin
COPY gatewayctl gatewayctl
RUN python -m compileall -q services gatewayctl \
    && printf '#!/bin/sh\nPYTHONPATH=/app exec python -m gatewayctl "$@"\n' >/usr/local/bin/gatewayctl \
    && chmod 755 /usr/local/bin/gatewayctl
USER 10001:10001
EXPOSE 8001
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8001/ready', timeout=4)"]
CMD ["python", "-m", "services.admin"]

FROM runtime AS ledger_worker
LABEL org.opencontainers.image.title="litellm-gateway/ledger-worker" \
    org.opencontainers.image.description="Posts what calls of the LLM gateway used to its ledger"
ENV PRICE_MAP_PATH=/app/price_map.json
COPY --from=worker-builder /venv /venv
COPY --from=gateway-builder /build/price_map.json price_map.json
COPY services/ledger_worker services/ledger_worker
RUN python -m compileall -q services
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "-m", "services.ledger_worker", "--check"]
CMD ["python", "-m", "services.ledger_worker"]

# The scripted provider of the local stack; no deployment uses it.
FROM runtime AS stand-in
LABEL org.opencontainers.image.title="litellm-gateway/stand-in" \
    org.opencontainers.image.description="A scripted provider for the LLM gateway: it holds no model"
COPY --from=admin-builder /venv /venv
COPY deploy/__init__.py deploy/__init__.py
COPY deploy/local/__init__.py deploy/local/__init__.py
COPY deploy/local/provider deploy/local/provider
USER 10001:10001
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9000/health', timeout=4)"]
CMD ["python", "-m", "deploy.local.provider", "--host", "0.0.0.0", "--port", "9000"]

# Last, so that a build without --target makes the gateway.
FROM runtime AS gateway
LABEL org.opencontainers.image.title="litellm-gateway/gateway" \
    org.opencontainers.image.description="A self-hosted LLM gateway with budgets that cannot be overrun"
ENV GATEWAY_HOST=0.0.0.0 \
    GATEWAY_PORT=8000 \
    SPOOL_DIR=/var/spool/gateway
COPY --from=gateway-builder /venv /venv
COPY services/gateway services/gateway
RUN python -m compileall -q services \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/spool/gateway
# Writes the bytecode of what the gateway imports, LiteLLM included, and of nothing else.
RUN PYTHONDONTWRITEBYTECODE='' python -m services.gateway --version \
    && PYTHONDONTWRITEBYTECODE='' python -c 'import asyncio; \
from services.gateway.upstream.adapters.library import LazyLibrary as L; asyncio.run(L().get())'
USER 10001:10001
VOLUME /var/spool/gateway
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
CMD ["python", "-m", "services.gateway"]
