# BASE_IMAGE can name the same image by its digest (docs/deployment.md).
ARG BASE_IMAGE=python:3.11.14-slim-bookworm
FROM ${BASE_IMAGE}

ENV PYTHONUNBUFFERED=1 \
    PYTHONPATH=/opt/funnelhouse \
    AIRFLOW_HOME=/opt/airflow \
    FUNNELHOUSE_HOME=/var/lib/funnelhouse

# Byte-code is compiled here because the user of the containers may not write it later: without it dbt starts twice
# as slowly. Every compiled library that these packages bring finds what it links to in the slim image. Only files whose
# hashes are in the lock are installed.
COPY requirements.txt requirements-server.txt requirements-uv.txt /tmp/requirements/
RUN pip install --no-cache-dir --quiet --require-hashes -r /tmp/requirements/requirements-uv.txt \
    && uv pip install --system --no-cache --compile-bytecode --require-hashes \
        -r /tmp/requirements/requirements.txt -r /tmp/requirements/requirements-server.txt \
    && rm -r /tmp/requirements

# An empty named volume takes the owner of the folder that it is mounted on.
ARG APP_UID=10001
RUN useradd --uid "$APP_UID" --user-group --create-home --shell /usr/sbin/nologin funnelhouse \
    && mkdir -p "$AIRFLOW_HOME/logs" "$FUNNELHOUSE_HOME" /export \
    && chown -R funnelhouse:funnelhouse "$AIRFLOW_HOME" "$FUNNELHOUSE_HOME"

WORKDIR /opt/funnelhouse
COPY . .
RUN python -m compileall -q .

USER funnelhouse
