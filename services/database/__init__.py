"""Postgres, the only truth: tables, one module of statements per table, migrations."""
