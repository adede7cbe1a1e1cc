# The API, the scheduler and the migration; without torch.
# docker build -f deploy/images/api.Dockerfile -t nvae-api:0.1.0 .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS packages
ENV PATH=/opt/nvae/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
WORKDIR /build
# What changes seldom comes first: as long as these two files stay, so does the layer of packages.
COPY pyproject.toml constraints.txt ./
RUN python3 -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; extras = project["optional-dependencies"]; print(*project["dependencies"], *extras["services"], *extras["tracing"], sep="\n")' > requirements.txt \
    && python3 -m venv /opt/nvae \
    && pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt \
    && pip uninstall --yes setuptools pip

FROM packages AS code
RUN python3 -m venv tools && tools/bin/pip install --no-cache-dir setuptools==84.2.1
COPY README.md ./
COPY nvae_core nvae_core
COPY nvae_client nvae_client
COPY services services
RUN tools/bin/pip install --no-cache-dir --no-deps --no-build-isolation --target /code .

FROM packages
RUN groupadd --gid 10001 nvae \
    && useradd --uid 10001 --gid nvae --no-create-home --home-dir /tmp nvae
COPY --from=code /code /opt/nvae/lib/python3.11/site-packages
ARG NVAE_VERSION=0.1.0
LABEL org.opencontainers.image.title="nvae-api" org.opencontainers.image.version="${NVAE_VERSION}"
ENV HOME=/tmp NVAE_VERSION=${NVAE_VERSION}
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "services.api"]
