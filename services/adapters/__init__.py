"""The only place that knows SQLAlchemy, Celery and boto3."""
