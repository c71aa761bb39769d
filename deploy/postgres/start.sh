#!/bin/bash
# Starts one Postgres container of docker-compose.yml: makes the archive's folder writable, copies a standby from its primary when it has
# no data yet, then hands over to the image's own entrypoint. Tests run it outside a container, as the user that may run Postgres.
set -euo pipefail
archive=${WAL_ARCHIVE:-/var/lib/postgresql/archive}

as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then gosu postgres "$@"; else "$@"; fi
}

if [ -d "$archive" ] && [ "$(id -u)" -eq 0 ]; then
    chown postgres:postgres "$archive"
    chmod 700 "$archive"
fi

if [ -n "${STANDBY_OF:-}" ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    source="host=$STANDBY_OF port=${STANDBY_OF_PORT:-5432} user=formledger_replicator application_name=standby"
    if [ "$(id -u)" -eq 0 ]; then install --directory --owner=postgres --group=postgres --mode=700 "$PGDATA"; fi
    # The slot makes the primary keep the log for it; `--write-recovery-conf` makes it a standby.
    PGPASSWORD=$REPLICATION_PASSWORD as_postgres pg_basebackup --dbname="$source" --pgdata="$PGDATA" --slot=standby \
        --wal-method=stream --checkpoint=fast --write-recovery-conf
fi

exec "${ENTRYPOINT:-docker-entrypoint.sh}" "$@"
