# The image of the operator, the server and the gatehouse command.
#
#   docker build -t localhost/gatehouse:0.1.0 .        (podman and buildah take the same)
#   gatehouse local image                              (also where no image registry answers)
#
# Any image will do as BASE that has Python 3.11 or newer with venv, CA certificates, and curl or apt-get.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

# People call the server from inside its Pod: kubectl exec … -- curl http://localhost:8080/…
FROM ${BASE} AS runtime
# The optional secrets are the package sources and settings of the machine that builds; no layer keeps them.
RUN --mount=type=secret,id=apt-conf --mount=type=secret,id=apt-sources \
    if ! command -v curl >/dev/null; then \
        export APT_CONFIG=/run/secrets/apt-conf DEBIAN_FRONTEND=noninteractive \
        && apt-get update -qq \
        && apt-get install -qq --yes --no-install-recommends curl >/dev/null \
        && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/* /var/cache/debconf/*-old /var/log/* \
            /usr/share/doc/* /usr/share/man/* /usr/share/locale/*; \
    fi

# Everything that uv.lock names, but nothing of the project: this layer changes only with uv.lock.
FROM runtime AS dependencies
ARG UV_VERSION=0.13.8
# Bytecode that is never compared with its source: no time stamp in it, no stat at start-up.
ENV PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_NO_PROGRESS=1 \
    UV_PROJECT_ENVIRONMENT=/opt/gatehouse \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /src
# The optional secret `build-env` is a shell script with the package index and CA settings of the machine that builds,
# the optional secret `ca-bundle` the certificates it trusts. Neither is written into a layer.
RUN --mount=type=secret,id=build-env --mount=type=secret,id=ca-bundle \
    if [ -s /run/secrets/build-env ]; then . /run/secrets/build-env; fi \
    && python3 -m venv /opt/uv \
    && /opt/uv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check "uv==${UV_VERSION}"
COPY pyproject.toml uv.lock ./
RUN --mount=type=secret,id=build-env --mount=type=secret,id=ca-bundle \
    if [ -s /run/secrets/build-env ]; then . /run/secrets/build-env; fi \
    && /opt/uv/bin/uv sync --frozen --no-dev --extra tracing --no-install-project --python "$(command -v python3)"

FROM dependencies AS project
COPY . .
# /own has what the project adds to the dependencies, and the data folder that any user of group 0 may write to.
# uv notes down the time of the installation; that note would make no two builds alike.
RUN --mount=type=secret,id=build-env --mount=type=secret,id=ca-bundle \
    if [ -s /run/secrets/build-env ]; then . /run/secrets/build-env; fi \
    && UV_COMPILE_BYTECODE=0 /opt/uv/bin/uv sync --frozen --no-dev --extra tracing --no-editable --python "$(command -v python3)" \
    && cd /opt/gatehouse \
    && rm lib/python3*/site-packages/gatehouse-*.dist-info/uv_cache.json \
    && sed -i /uv_cache.json/d lib/python3*/site-packages/gatehouse-*.dist-info/RECORD \
    && bin/python -m compileall -q --invalidation-mode unchecked-hash lib/python3*/site-packages/gatehouse \
    && install -d /own/opt/gatehouse \
    && cp -a --parents lib/python3*/site-packages/gatehouse lib/python3*/site-packages/gatehouse-*.dist-info \
        bin/gatehouse bin/kubectl-gatehouse /own/opt/gatehouse \
    && install -d -m 0770 -o 1001 -g 0 /own/var/lib/gatehouse

FROM runtime
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="Gatehouse" \
      org.opencontainers.image.description="A model registry that is a control plane for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=dependencies /opt/gatehouse /opt/gatehouse
COPY --from=project /own /
# One thread runs at a time: an arena of malloc for each would only keep more memory.
ENV MALLOC_ARENA_MAX=1 \
    PATH=/opt/gatehouse/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/var/lib/gatehouse \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 1001:0
WORKDIR /var/lib/gatehouse
EXPOSE 8080 8081 8082
ENTRYPOINT ["gatehouse"]
CMD ["run"]
