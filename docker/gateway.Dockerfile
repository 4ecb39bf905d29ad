# The HTTP gateway: no torch. Build from the repository's root:
#   docker build -f docker/gateway.Dockerfile -t onepair-gateway .
# Any Debian or Ubuntu base with Python >= 3.11 will do: --build-arg BASE_IMAGE=...
# Where no package index can be reached: wheels in wheels/, and --build-arg PIP_NO_INDEX=1.
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS dependencies
ARG PIP_NO_INDEX=
ENV PIP_FIND_LINKS=/src/wheels PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/venv && python3 -m venv /opt/build
# LICENSE only because the other may be missing, and something has to be copied.
COPY LICENSE wheels* /src/wheels/
COPY requirements/build.txt requirements/gateway.txt /src/requirements/
RUN /opt/build/bin/pip install --require-hashes -r /src/requirements/build.txt \
    && /opt/venv/bin/pip install --require-hashes -r /src/requirements/gateway.txt
# Ours lies beside them, in a layer of its own: an update moves megabytes.
RUN site=$(/opt/venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))") \
    && echo /opt/onepair > "$site/onepair.pth"

FROM dependencies AS package
COPY pyproject.toml README.md LICENSE /src/
COPY osmis_core /src/osmis_core
COPY jobs /src/jobs
COPY service /src/service
COPY worker /src/worker
COPY cli /src/cli
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /src/dist /src \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --no-deps --no-index \
        --target /opt/onepair /src/dist/*.whl

FROM ${BASE_IMAGE}
ENV PATH=/opt/onepair/bin:/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ONEPAIR_HOST=0.0.0.0 \
    ONEPAIR_PORT=8000 \
    ONEPAIR_DATA_DIR=/data
RUN groupadd --system --gid 10001 onepair \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin onepair \
    && mkdir /data && chown onepair:onepair /data
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=package /opt/onepair /opt/onepair
USER 10001:10001
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=9)"]
CMD ["python", "-m", "service"]
