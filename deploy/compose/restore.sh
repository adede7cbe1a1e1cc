#!/bin/sh
# Fills an empty installation from a backup: sh deploy/compose/restore.sh FOLDER
# Then `docker compose up --detach --wait` starts the rest.
set -eu
compose=${COMPOSE:-docker compose}
folder=$(cd "${1:?usage: restore.sh FOLDER}" && pwd)
export BACKUP_FOLDER="$folder" BACKUP_USER="$(id -u):$(id -g)"
[ -s "$folder/postgres.dump" ] || { echo "there is no postgres.dump in $folder" >&2; exit 1; }

in_postgres() {
    $compose exec -T postgres sh -c 'PGPASSWORD=$POSTGRES_PASSWORD exec "$@"' sh "$@"
}

$compose up --detach --no-build --wait postgres s3
tables=$(in_postgres psql --host=127.0.0.1 --username=nvae --no-align --tuples-only \
    --command="SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
if [ "$tables" != 0 ]; then
    echo "the database is not empty: docker compose down --volumes empties it, and the bucket" >&2
    exit 1
fi
# The bucket first: until the rows are there, nobody looks for the objects.
$compose run --rm --no-deps -T backup mkdir store:artifacts
$compose run --rm --no-deps -T backup copy --size-only /backup/bucket store:artifacts
in_postgres pg_restore --host=127.0.0.1 --username=nvae --dbname=nvae --exit-on-error \
    --no-owner --no-privileges --single-transaction < "$folder/postgres.dump"
