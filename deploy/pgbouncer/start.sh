#!/bin/sh
# Writes what depends on the environment (which server is the primary, the password) and becomes PgBouncer.
# Tests run it outside a container, with other paths and ports.
set -eu
: "${APP_PASSWORD:?}"
run=${RUN_FOLDER:-/run/formledger}
umask 077
# PgBouncer doubles quotes within quotes.
password=$(printf '%s' "$APP_PASSWORD" | sed 's/"/""/g')
printf '"formledger_app" "%s"\n' "$password" >"$run/users.txt"
printf '[databases]\nledger = host=%s port=%s dbname=ledger\n' "${PRIMARY:-primary}" "${PRIMARY_PORT:-5432}" >"$run/databases.ini"
exec pgbouncer "${CONFIG:-/etc/formledger/pgbouncer.ini}"
