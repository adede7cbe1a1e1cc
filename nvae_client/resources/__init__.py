"""What there is at the service, one class for each kind of it."""
