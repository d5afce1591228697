"""An S3 server on loopback that keeps each version of an object."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

ACCESS = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass
class Store:
    """A bucket with the name ``pictures``."""

    address: str
    client: Any

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that give a program access."""
        return ACCESS | {"AWS_ENDPOINT_URL": self.address}

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket="pictures", Key=key, Body=content)

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket="pictures", Key=key)["Body"].read()

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket="pictures", Key=key)

    def versions(self, below: str) -> Counter[str]:
        """Return how often each object was written."""
        pages = self.client.get_paginator("list_object_versions")
        found = pages.paginate(Bucket="pictures", Prefix=below)
        return Counter(version["Key"] for page in found for version in page.get("Versions", []))


@contextmanager
def running() -> Iterator[Store]:
    """Run a server with an empty bucket."""
    boto3 = pytest.importorskip("boto3")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = pytest.importorskip("moto.server").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ.update(ACCESS)
    try:
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        # All servers of a process share their objects.
        client.create_bucket(Bucket="pictures")
        client.put_bucket_versioning(
            Bucket="pictures", VersioningConfiguration={"Status": "Enabled"}
        )
        yield Store(f"http://{host}:{port}", client)
        for page in client.get_paginator("list_object_versions").paginate(Bucket="pictures"):
            for version in page.get("Versions", []) + page.get("DeleteMarkers", []):
                client.delete_object(
                    Bucket="pictures", Key=version["Key"], VersionId=version["VersionId"]
                )
        client.delete_bucket(Bucket="pictures")
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)
