-- The role that Grafana reads with. Run it after the migration, as the owner of the tables with the right to
-- create roles; again and again without harm. The role sees no key, no log and no stored answer.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'nvae_reader') THEN
        CREATE ROLE nvae_reader;
    END IF;
END $$;
ALTER ROLE nvae_reader LOGIN CONNECTION LIMIT 10;
ALTER ROLE nvae_reader SET default_transaction_read_only = on;
ALTER ROLE nvae_reader SET statement_timeout = '10s';
GRANT SELECT ON jobs, attempts, members, nodes, slots, events, metric_series, metrics, metric_blocks,
    checkpoints, leaders TO nvae_reader;
