# A worker, for CPU and GPU alike: PyPI's torch brings its own CUDA libraries, the host brings the
# driver. Build from the repository's root:
#   docker build -f docker/worker.Dockerfile -t onepair-worker .
# Any Debian or Ubuntu base with Python >= 3.11 will do: --build-arg BASE_IMAGE=...
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
RUN python3 -m venv /opt/venv
COPY requirements/embedded.txt /src/requirements/
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes -r /src/requirements/embedded.txt
COPY osmis_core /src/osmis_core
COPY jobs /src/jobs
COPY worker /src/worker
COPY pyproject.toml README.md LICENSE /src/
COPY service /src/service
COPY cli /src/cli
# The package itself, for its version in manifests; its dependencies are all there.
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation /src

FROM ${BASE_IMAGE}
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    ONEPAIR_DATA_DIR=/data
RUN groupadd --system --gid 10001 onepair \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin onepair \
    && mkdir /data && chown onepair:onepair /data
COPY --from=build /opt/venv /opt/venv
USER 10001:10001
WORKDIR /data
ENV ONEPAIR_QUEUE=jobs
# The worker touches a file while its supervisor lives; a hung child is the supervisor's business.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "worker.health"]
CMD ["python", "-m", "worker"]
