"""What a job is: specs, statuses, placement and retry rules; pure Python, no I/O, no clock."""
