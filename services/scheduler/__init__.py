"""The leader's loop: expire leases, place jobs, publish the outbox, delete garbage."""
