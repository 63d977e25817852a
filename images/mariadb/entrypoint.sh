#!/bin/sh
# Initialises the data folder once, then becomes the server.
#
#   MARIADB_ROOT_PASSWORD                            needed at the first start
#   MARIADB_DATABASE, MARIADB_USER, MARIADB_PASSWORD a database, and a user who owns it
#
# Runs as any user that may write to the volume. Everything is made in a folder of its own that takes its final name in
# one step: what was killed half-way is thrown away at the next start, never used.
set -eu

volume=/var/lib/mysql
child=
trap '[ -z "$child" ] || kill -TERM "$child" 2>/dev/null; exit 143' TERM INT

fail() { echo "entrypoint: $*" >&2; exit 1; }

literal() { printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e "s/'/\\\\'/g"; }
name() { printf '%s' "$1" | sed -e 's/`/``/g'; }

# printf, since echo would read the backslashes.
statements() {
    root=$(literal "$MARIADB_ROOT_PASSWORD")
    database=$(name "${MARIADB_DATABASE:-}")
    # mariadb-install-db creates only root users without a password, one for each name of this machine.
    printf '%s\n' "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');" \
        "FLUSH PRIVILEGES;" \
        "ALTER USER 'root'@'localhost' IDENTIFIED BY '$root';" \
        "CREATE USER 'root'@'%' IDENTIFIED BY '$root';" \
        "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
    [ -z "$database" ] || printf '%s\n' "CREATE DATABASE \`$database\`;"
    if [ -n "${MARIADB_USER:-}" ]; then
        user="'$(literal "$MARIADB_USER")'@'%'"
        printf '%s\n' "CREATE USER $user IDENTIFIED BY '$(literal "$MARIADB_PASSWORD")';"
        # In the name of a database that rights are given for, _ and % stand for others unless escaped.
        pattern=$(printf '%s' "$database" | sed 's/[_%\\]/\\&/g')
        [ -z "$database" ] || printf '%s\n' "GRANT ALL ON \`$pattern\`.* TO $user;"
    fi
}

initialise() {
    [ -n "${MARIADB_ROOT_PASSWORD:-}" ] || fail "$volume is empty and MARIADB_ROOT_PASSWORD is not set; set it."
    [ -z "${MARIADB_USER:-}" ] || [ -n "${MARIADB_PASSWORD:-}" ] || fail "MARIADB_USER without MARIADB_PASSWORD; set it."
    [ -w "$volume" ] || fail "user $(id -u) in groups $(id -G) may not write to $volume; set the Pod's fsGroup."
    echo "entrypoint: initialising $data"
    rm -rf "$data.unfinished"
    mkdir -m 0750 "$data.unfinished"
    # In the background, since a shell takes no signal while it waits for a program in the foreground.
    # --force: no name of this machine need resolve.
    mariadb-install-db --no-defaults --datadir="$data.unfinished" --skip-test-db --skip-name-resolve --force \
        --auth-root-authentication-method=normal > "$data.unfinished/install.log" &
    child=$!
    wait "$child" || { cat "$data.unfinished/install.log" >&2; fail "mariadb-install-db failed"; }
    rm "$data.unfinished/install.log"
    # A pipe, so that no password is an argument or a file.
    statements | mariadbd --no-defaults --bootstrap --datadir="$data.unfinished" --skip-name-resolve --silent-startup &
    child=$!
    wait "$child"
    child=
    sync "$data.unfinished"
    mv -T "$data.unfinished" "$data"
    echo "entrypoint: initialised"
}

case "${1:--}" in
-*) set -- mariadbd "$@" ;;
mariadbd | mysqld) ;;
*) exec "$@" ;;
esac
shift

umask 0007
data=$volume/data
# A volume that the upstream image filled is used as it is.
[ ! -d "$volume/mysql" ] || data=$volume
[ -d "$data" ] || initialise
unset MARIADB_ROOT_PASSWORD MARIADB_PASSWORD
exec mariadbd --no-defaults --datadir="$data" --socket=/run/mysqld/mysqld.sock --pid-file=/run/mysqld/mysqld.pid \
    --character-set-server=utf8mb4 --skip-name-resolve "$@"
