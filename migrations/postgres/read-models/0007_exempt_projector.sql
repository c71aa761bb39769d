-- Exempts the projector from row-level security, so that many new rows may come by COPY, which Postgres refuses where policies look at rows.
-- It gives no right: every policy for that role lets it see and write all rows of the tables that it was granted (docs/adr/0011).
DO $exempt$
BEGIN
    IF NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'formledger_projector') THEN
        ALTER ROLE formledger_projector BYPASSRLS;
    END IF;
EXCEPTION
    -- Only a superuser may; without it rows come by statements. Or the same is being done in another database of the cluster.
    WHEN insufficient_privilege OR internal_error THEN
        NULL;
END
$exempt$;
