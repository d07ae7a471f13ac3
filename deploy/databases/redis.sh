#!/bin/sh
# Starts Redis in the working directory, with a user for each service whose password is in
# REDIS_<USER>_PASSWORD. Arguments are further options.
set -eu
umask 077
acl=$(mktemp)

# Everything the services do, on their own keys and channel; nothing that administers the server,
# reads other clients, or empties it. printf is part of the shell, so that `ps` shows no password.
user() {
    printf 'user %s on >%s ~gateway:* ~arq:* &gateway:* +@all -@admin -@dangerous +info\n' "$1" "$2"
}
{
    # The health check needs no password, and whoever has none can do nothing else.
    printf 'user default on nopass -@all +ping\n'
    user gateway "$REDIS_GATEWAY_PASSWORD"
    user admin "$REDIS_ADMIN_PASSWORD"
    user worker "$REDIS_WORKER_PASSWORD"
} >"$acl"

# A usage event is on disk before the last byte of its call leaves. At its limit Redis refuses
# writes, which the gateways spool; the container's own limit would kill it. Protected mode would
# keep out every other host, because the user `default` has no password.
exec redis-server --aclfile "$acl" --protected-mode no \
    --appendonly yes --appendfsync always --save '' \
    --maxmemory "${REDIS_MAXMEMORY:-768mb}" --maxmemory-policy noeviction "$@"
