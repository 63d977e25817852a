#!/bin/sh
# Initialises the data folder once, then becomes the server.
#
#   POSTGRES_PASSWORD  needed at the first start
#   POSTGRES_USER      the superuser; default postgres
#   POSTGRES_DB        its database; default the same name
#   PGDATA             the data folder; where that is a volume itself, the folder pgdata in it
#
# Runs as any user that may write to the volume. Everything is made in a folder of its own that takes its final name in
# one step: what was killed half-way is thrown away at the next start, never used.
set -eu

child=
trap '[ -z "$child" ] || kill -TERM "$child" 2>/dev/null; exit 143' TERM INT

fail() { echo "entrypoint: $*" >&2; exit 1; }

# They want a name for the user it runs as; a Pod's user often has none.
with_name() {
    if ! getent passwd "$(id -u)" >/dev/null; then
        export NSS_WRAPPER_PASSWD="$data.passwd" NSS_WRAPPER_GROUP=/etc/group
        echo "postgres:x:$(id -u):$(id -g):PostgreSQL:/tmp:/bin/false" > "$NSS_WRAPPER_PASSWD"
        export LD_PRELOAD=libnss_wrapper.so
    fi
    exec "$@"
}

initialise() {
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}
    volume=$(dirname "$data")
    [ -n "${POSTGRES_PASSWORD:-}" ] || fail "$data does not exist and POSTGRES_PASSWORD is not set; set it."
    [ -w "$volume" ] || fail "user $(id -u) in groups $(id -G) may not write to $volume; set the Pod's fsGroup."
    echo "entrypoint: initialising $data"
    rm -rf "$data.unfinished"
    mkdir -m 0700 "$data.unfinished"
    # A pipe, so that the password is neither an argument nor a file; printf is the shell's own.
    printf '%s\n' "$POSTGRES_PASSWORD" | (with_name initdb --pgdata="$data.unfinished" --username="$user" \
        --pwfile=/dev/stdin --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >/dev/null) &
    child=$!
    wait "$child"
    if [ "$database" != postgres ]; then
        quoted=$(printf '%s' "$database" | sed -e 's/"/""/g')
        printf 'CREATE DATABASE "%s";\n' "$quoted" | (with_name postgres --single -D "$data.unfinished" postgres >/dev/null) &
        child=$!
        wait "$child"
    fi
    child=
    echo 'host all all all scram-sha-256' >> "$data.unfinished/pg_hba.conf"
    rm -f "$data.passwd"
    sync "$data.unfinished"
    mv -T "$data.unfinished" "$data"
    echo "entrypoint: initialised"
}

case "${1:--}" in
-*) set -- postgres "$@" ;;
postgres) ;;
*) exec "$@" ;;
esac
shift

data=$PGDATA
# A volume's own folder cannot be renamed; but one that the upstream image filled is used as it is.
if [ ! -e "$PGDATA/PG_VERSION" ] && mountpoint -q "$PGDATA"; then
    data=$PGDATA/pgdata
fi
[ -e "$data/PG_VERSION" ] || initialise
unset POSTGRES_PASSWORD
exec postgres -D "$data" -c listen_addresses='*' "$@"
