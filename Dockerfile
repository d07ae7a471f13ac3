# One image per service: docker build --target gateway|admin|ledger_worker .
# Buildah 1.28 and later builds it too: buildah build --format docker, whose images keep HEALTHCHECK.
# Another BASE must bring Python 3.11 to 3.13; `make pin-images` prints this one with its digest.
ARG BASE=python:3.13-slim

# --- Builders: the locked requirements of each service in a virtual environment ---

FROM ${BASE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH

FROM builder AS gateway-builder
COPY requirements/gateway.txt .
# The price map is copied out as plain data, for the services that do not install litellm.
RUN pip install --no-deps --require-hashes -r gateway.txt \
    && cp "$(python -c 'import importlib.util as u; print(u.find_spec("litellm").submodule_search_locations[0])')/model_prices_and_context_window_backup.json" price_map.json

FROM builder AS admin-builder
COPY requirements/admin.txt .
RUN pip install --no-deps --require-hashes -r admin.txt

FROM builder AS worker-builder
COPY requirements/worker.txt .
RUN pip install --no-deps --require-hashes -r worker.txt

# --- Images: a virtual environment, the shared library and one service ---

FROM ${BASE} AS runtime
# LiteLLM reads its bundled price map and never fetches one.
ENV HOME=/tmp \
    LITELLM_LOCAL_MODEL_COST_MAP=True \
    PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN groupadd --system --gid 10001 app \
    && useradd --system --uid 10001 --gid app --no-create-home --home-dir /tmp app
WORKDIR /app
COPY libs libs
COPY services/__init__.py services/__init__.py
RUN python -m compileall -q libs services
STOPSIGNAL SIGTERM

FROM runtime AS admin
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
ENV GATEWAY_HOST=0.0.0.0 \
    GATEWAY_PORT=8000 \
    SPOOL_DIR=/var/spool/gateway
COPY --from=gateway-builder /venv /venv
COPY services/gateway services/gateway
RUN python -m compileall -q services \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/spool/gateway
USER 10001:10001
VOLUME /var/spool/gateway
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
CMD ["python", "-m", "services.gateway"]
