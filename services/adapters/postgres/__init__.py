"""Postgres, the only truth: tables, repositories, migrations."""
