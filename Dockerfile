# syntax=docker/dockerfile:1
# Holdfast as an image: non-root, no compiler, no downloads at run time. `docker build -t holdfast .`, then docs/deploy.md.
# BASE: any Debian-like image with Python 3.11 or newer and its venv module.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
RUN python3 -m venv /opt/holdfast
COPY requirements-server.txt ./
RUN /opt/holdfast/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        -r requirements-server.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY sidecar sidecar
RUN /opt/holdfast/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . \
    && /opt/holdfast/bin/holdfast install-engine --shared \
    && /opt/holdfast/bin/python -m compileall -q /opt/holdfast/lib
COPY deploy/healthcheck.py /opt/holdfast/

FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /data holdfast \
    && install --directory --mode 0700 --owner holdfast --group holdfast /data
COPY --from=build /opt/holdfast /opt/holdfast
# PORT, as platforms set it: Holdfast then listens on all addresses and refuses to start without HOLDFAST_API_KEY.
ENV PATH=/opt/holdfast/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PORT=3000 \
    HOLDFAST_DATA_DIR=/data \
    HOLDFAST_LOG_FORMAT=json
USER holdfast
WORKDIR /data
VOLUME /data
EXPOSE 3000
# A passive instance is healthy too: it takes over when the other one leaves, so that rolling deploys can end.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/holdfast/healthcheck.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "holdfast"]
CMD ["serve"]
