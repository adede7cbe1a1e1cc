#!/bin/sh
# As root, give the data to the user and become the user; then start the part that is asked for.
set -eu
if [ "$(id -u)" = 0 ]; then
    [ "$(stat --format=%u /data)" = 1000 ] || chown -R seaweed:seaweed /data
    exec setpriv --reuid=seaweed --regid=seaweed --clear-groups "$0" "$@"
fi
exec weed -logtostderr=true "$@"
