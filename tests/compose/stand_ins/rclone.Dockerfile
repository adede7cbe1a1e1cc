# In place of rclone/rclone:1.72.0, where no registry can be reached: an older one, same entry point.
FROM python:3.11.14-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends rclone && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["rclone"]
