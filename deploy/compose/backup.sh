#!/bin/sh
# Copies Postgres, then the bucket, into a folder: sh deploy/compose/backup.sh FOLDER
# Run it again with the same folder, and only new objects are copied. Jobs may run meanwhile.
set -eu
umask 077
compose=${COMPOSE:-docker compose}
folder=${1:?usage: backup.sh FOLDER}
mkdir -p "$folder/bucket"
folder=$(cd "$folder" && pwd)
export BACKUP_FOLDER="$folder" BACKUP_USER="$(id -u):$(id -g)"

# Postgres first: what its rows name stays in the bucket for a day after the last row has gone.
$compose exec -T postgres sh -c \
    'PGPASSWORD=$POSTGRES_PASSWORD pg_dump --host=127.0.0.1 --username=nvae --format=custom nvae' \
    > "$folder/postgres.dump.new"
# The folder can be restored at each moment: to the old dump until every object of the new one is there.
$compose run --rm --no-deps -T backup copy --size-only store:artifacts /backup/bucket
mv "$folder/postgres.dump.new" "$folder/postgres.dump"
$compose run --rm --no-deps -T backup sync --size-only store:artifacts /backup/bucket
