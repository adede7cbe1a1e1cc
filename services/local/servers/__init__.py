"""Postgres, Valkey and SeaweedFS as parts: how each is prepared, started, probed and stopped."""
