"""From the run directory to Postgres and S3."""
