"""Store an object, read it back: what the stack waits for before it calls S3 ready."""

import os

import boto3
from botocore.config import Config

s3 = boto3.client(
    "s3",
    endpoint_url=os.environ["NVAE_S3_ENDPOINT_URL"],
    aws_access_key_id=os.environ["NVAE_S3_ACCESS_KEY"],
    aws_secret_access_key=os.environ["NVAE_S3_SECRET_KEY"],
    region_name="us-east-1",
    config=Config(retries={"total_max_attempts": 1}),
)
bucket = os.environ["NVAE_S3_BUCKET"]
s3.put_object(Bucket=bucket, Key="self-test", Body=b"ready")
assert s3.get_object(Bucket=bucket, Key="self-test")["Body"].read() == b"ready"
