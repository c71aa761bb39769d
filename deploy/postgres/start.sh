#!/bin/bash
# Starts one Postgres container of docker-compose.yml: makes the archive's folder writable, sees to it that a server of the ledger is what
# LEDGER_PRIMARY makes it, then hands over to the image's own entrypoint. Tests run it outside a container, as the user that may run Postgres.
#   SERVER_NAME     which of the ledger's servers this is, and as what it is known at its primary: its name there, and its slot's.
#   LEDGER_PRIMARY  the one that takes writes. Every other follows it: it copies itself while it has no data, with the data of a standby of
#                   another one it changes over, and with the data of a primary it does not start. Two primaries are two histories.
#   PRIMARY_HOST, PRIMARY_PORT  where that one is, if not at its name and 5432.
# Without SERVER_NAME it is a server of its own (the read-model replica).
set -euo pipefail
archive=${WAL_ARCHIVE:-/var/lib/postgresql/archive}
name=${SERVER_NAME:-}
primary=${LEDGER_PRIMARY:-$name}
host=${PRIMARY_HOST:-$primary} port=${PRIMARY_PORT:-5432}

as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then gosu postgres "$@"; else "$@"; fi
}

# Runs a command of the replication protocol; answers what went wrong, with the code that is the same in every language.
at_primary() {
    as_postgres psql --no-psqlrc --quiet --no-password --set=VERBOSITY=sqlstate --dbname="$source replication=true" --command="$1" 2>&1 >/dev/null
}

refuse() {
    echo "start.sh: $*" >&2
    exit 1
}

# Whether the standby's data are told to follow the primary: of several lines Postgres takes the last.
follows() {
    local said
    said=$(grep '^primary_conninfo' "$PGDATA/postgresql.auto.conf" | tail -n 1)
    [[ $said =~ [\ \']host=$host[\ \'] && $said =~ [\ \']port=$port[\ \'] ]]
}

# Waits until the primary answers; both begin at once. For as long as it takes, which is this container's health check's to judge.
await_primary() {
    source="host=$host port=$port user=formledger_replicator application_name=$name"
    export PGPASSWORD=$REPLICATION_PASSWORD
    until as_postgres pg_isready --quiet --host="$host" --port="$port"; do
        echo "start.sh: waiting for $primary" >&2
        sleep 1
    done
}

# Lets the standby's data follow the primary, which took over from the one that they followed. Postgres itself sees to it that they have one
# history: a standby that holds more of the old primary's than the new one had when it took over finds no way on, and says so in its log.
change_over() {
    await_primary
    # One that is there may have kept the log for this server since before. (42710: there is one.)
    said=$(at_primary "CREATE_REPLICATION_SLOT \"$name\" PHYSICAL RESERVE_WAL") || [[ $said == *42710* ]] || refuse "$primary makes no slot: $said"
    as_postgres sed --in-place --expression="/^primary_conninfo/ s|\([ ']\)host=[^ ']*|\1host=$host|; /^primary_conninfo/ s|\([ ']\)port=[^ ']*|\1port=$port|" \
        "$PGDATA/postgresql.auto.conf"
    unset PGPASSWORD
}

# As its first process a container's shell would not hear them otherwise.
trap 'exit 1' INT TERM

if [ -d "$archive" ] && [ "$(id -u)" -eq 0 ]; then
    chown postgres:postgres "$archive"
    chmod 700 "$archive"
fi

if [ "$name" != "$primary" ]; then
    [[ $name =~ ^[a-z0-9_]{1,63}$ ]] || refuse "\`$name\` cannot be a slot's name: use a-z, 0-9 and _"
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        await_primary
        # The slot makes the primary keep the log for this server, from now on. One of an earlier copy may have fallen too far behind; one that
        # is in use is another server's of the same name. (42704: there is none.)
        said=$(at_primary "DROP_REPLICATION_SLOT \"$name\"") || [[ $said == *42704* ]] || refuse "the slot at $primary is kept: $said"
        said=$(at_primary "CREATE_REPLICATION_SLOT \"$name\" PHYSICAL RESERVE_WAL") || refuse "$primary makes no slot: $said"
        if [ "$(id -u)" -eq 0 ]; then install --directory --owner=postgres --group=postgres --mode=700 "$PGDATA"; fi
        # `--write-recovery-conf` makes it a standby.
        as_postgres pg_basebackup --dbname="$source" --pgdata="$PGDATA" --slot="$name" \
            --wal-method=stream --checkpoint=fast --write-recovery-conf
        unset PGPASSWORD
    elif [ ! -e "$PGDATA/standby.signal" ]; then
        refuse "LEDGER_PRIMARY is $primary, and the data here are a primary's, or a copy that was not finished: two primaries are two" \
            "histories. If $name was promoted, this container is of before: make it anew with LEDGER_PRIMARY=$name, and keep the data. If" \
            "$primary takes writes now, and only then, remove the data of $name, and it copies itself (docs/operations.md, Failover)."
    elif ! follows; then
        change_over
        follows || refuse "the data here follow another server than LEDGER_PRIMARY, which is $primary: remove the data of $name, and it" \
            "copies itself from there (docs/operations.md, Failover)."
    fi
fi

exec "${ENTRYPOINT:-docker-entrypoint.sh}" "$@"
