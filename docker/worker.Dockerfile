# A worker, for CPU and GPU alike: PyPI's torch brings its own CUDA libraries, the host brings the
# driver. Build from the repository's root:
#   docker build -f docker/worker.Dockerfile -t onepair-worker .
# Any Debian or Ubuntu base with Python >= 3.11 will do: --build-arg BASE_IMAGE=...
# Where no package index can be reached: wheels in wheels/, and --build-arg PIP_NO_INDEX=1.
# Smaller, for CPUs only (untried), where PyTorch's own index can be reached: its address for CPU
# builds as --build-arg TORCH_INDEX=...
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS dependencies
ARG PIP_NO_INDEX=
ARG TORCH_INDEX=
ENV PIP_FIND_LINKS=/src/wheels PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/venv && python3 -m venv /opt/build
# LICENSE only because the other may be missing, and something has to be copied.
COPY LICENSE wheels* /src/wheels/
COPY requirements/build.txt requirements/embedded.txt /src/requirements/
COPY docker/install-worker.sh /src/docker/
RUN /opt/build/bin/pip install --require-hashes -r /src/requirements/build.txt \
    && sh /src/docker/install-worker.sh /src/requirements/embedded.txt
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
    NUMBA_CACHE_DIR=/tmp/numba \
    ONEPAIR_DATA_DIR=/data
# /weights: InceptionV3's, from a volume; see deploy/README.md
RUN groupadd --system --gid 10001 onepair \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin onepair \
    && mkdir /data /weights && chown onepair:onepair /data /weights
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=package /opt/onepair /opt/onepair
USER 10001:10001
WORKDIR /data
ENV ONEPAIR_QUEUE=jobs
# The worker touches a file while its supervisor lives; a hung child is the supervisor's business.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "worker.health"]
CMD ["python", "-m", "worker"]
