# The server and what it needs. docs/deployment.md says how to run it; devstack/image.py builds it where there is no engine.
FROM debian:bookworm-slim AS build

# No versions: Debian's security updates are wanted, and a version goes away with the next of them.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

COPY requirements.lock /build/requirements.lock
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes --requirement /build/requirements.lock \
    && python3 -m venv /build/tools \
    && /build/tools/bin/pip install --no-cache-dir cyclonedx-bom==7.5.0 \
    && /opt/venv/bin/pip uninstall --yes pip setuptools \
    && /build/tools/bin/cyclonedx-py environment --output-file /opt/venv/sbom.json /opt/venv/bin/python


FROM debian:bookworm-slim

LABEL org.opencontainers.image.title="config-server" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.description="Central configuration for microservices: Git, Vault, pushed on change" \
    org.opencontainers.image.licenses="Apache-2.0"

# git: the mirror. openssh-client: ssh:// remotes. procps: GitPython asks ps. tini: reaps and hands signals on.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git openssh-client procps python3 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin config-server \
    && install --directory --owner=config-server --group=config-server /var/lib/config-server

COPY --from=build /opt/venv /opt/venv
COPY app /srv/config-server/app
COPY config/gunicorn.conf.py config/rbac.toml config/healthcheck.py /srv/config-server/config/
COPY wsgi.py LICENSE /srv/config-server/
RUN /opt/venv/bin/python -m compileall -q /srv/config-server

ENV PATH=/opt/venv/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CONFIG_SERVER_BIND=0.0.0.0:8000
WORKDIR /srv/config-server
USER 10001:10001
VOLUME /var/lib/config-server
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "config/healthcheck.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--"]
CMD ["gunicorn", "-c", "config/gunicorn.conf.py"]
