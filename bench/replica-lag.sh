#!/usr/bin/env bash
# How far a replica's rows are behind the ledger while a load runs: samples the replica's checkpoint every 20 ms, and afterwards asks the
# ledger when the first event was recorded that the rows did not reflect. Prints percentiles of that delay in milliseconds.
#   bench/replica-lag.sh LEDGER_URL REPLICA_URL TENANT SECONDS
# Both databases must be on machines with one clock; a standby is a replica like any other. Needs psql.
set -euo pipefail
ledger=$1 replica=$2 tenant=$3 seconds=$4

samples=$(mktemp)
trap 'rm -f "$samples"' EXIT
# The slowest of the read models, as readers wait for the one they ask.
timeout "$seconds" psql --no-psqlrc --quiet --tuples-only --no-align --field-separator=, "$replica" > "$samples" <<SQL || [ $? -eq 124 ]
SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint, coalesce(min(least(forms_position, submissions_position, statistics_position, tasks_position)), 0) FROM read_models.checkpoints WHERE tenant_id = '$tenant' \watch 0.02
SQL

psql --no-psqlrc --quiet --tuples-only --set=ON_ERROR_STOP=1 "$ledger" <<SQL
CREATE TEMPORARY TABLE samples (at bigint, position bigint);
\copy samples FROM PROGRAM 'grep -E "^[0-9]+,[0-9]+$" $samples' WITH (FORMAT csv)
SELECT format('%s samples, behind in %s: p50 %s  p99 %s  max %s ms', count(*), count(*) FILTER (WHERE behind_us > 0),
              round(percentile_disc(0.5) WITHIN GROUP (ORDER BY behind_us) / 1e3, 1),
              round(percentile_disc(0.99) WITHIN GROUP (ORDER BY behind_us) / 1e3, 1), round(max(behind_us) / 1e3, 1))
FROM (SELECT greatest(samples.at - coalesce(events.recorded_at, samples.at), 0)::numeric AS behind_us
      FROM samples LEFT JOIN events ON events.tenant_id = '$tenant' AND events.position = samples.position + 1) AS delays;
SQL
