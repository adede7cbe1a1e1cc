"""What a job is: specs, states, placement and retry rules; pure Python, no I/O, no clock."""
