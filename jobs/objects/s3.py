"""Objects in an S3-compatible store, by boto3."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import ClientError

from jobs.errors import ObjectMissing, StoreAway
from jobs.keys import JOBS_PREFIX, check_object_key, check_object_prefix
from jobs.objects.base import CHUNK_BYTES, OCTETS, WITH_TIME, ObjectInfo, Patience
from jobs.objects.s3_errors import MISSING, NO_BUCKET, error_code, s3_errors
from jobs.settings import Settings

_TAKEN = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_NO_UPLOAD = {"404", "NoSuchUpload"}
_BUCKET_TAKEN = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
_DEFAULT_REGION = "us-east-1"  # the one region that must not be named when a bucket is created
PAGE_SIZE = 1_000  # the most that S3 lists or deletes at once
Reply = TypeVar("Reply")


def client_config(patience: Patience) -> Config:
    """Settings for S3-compatible servers: checksums only where an operation demands them."""
    return Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=3,
        read_timeout=patience.read_seconds,
        retries={"mode": "standard", "max_attempts": patience.attempts},
        max_pool_connections=16,
        tcp_keepalive=True,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


class S3Store:
    """An ``ObjectStore`` in one bucket, which is created by the first write to a fresh server.

    Two clients: the internal endpoint does the work; the public one only signs URLs, because the
    host is part of what is signed.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        *,
        presigner: Any | None = None,
        page_size: int = PAGE_SIZE,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._presigner = presigner
        self._page_size = page_size

    @classmethod
    def from_settings(
        cls, settings: Settings, *, patience: Patience = WITH_TIME, page_size: int = PAGE_SIZE
    ) -> S3Store:
        """The bucket that the settings name; nothing is sent yet."""
        config = client_config(patience)
        access, secret = settings.s3_access_key, settings.s3_secret_key
        session = boto3.session.Session(
            aws_access_key_id=access.get_secret_value() if access else None,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            region_name=settings.s3_region,
        )
        client = session.client("s3", endpoint_url=settings.s3_endpoint_url, config=config)
        presigner = None
        if settings.delivery == "presign":
            presigner = session.client("s3", endpoint_url=settings.s3_public_url, config=config)
        return cls(client, settings.s3_bucket, presigner=presigner, page_size=page_size)

    def ensure_bucket(self) -> None:
        """Create the bucket if it is missing. Writes and ``ping`` do so by themselves."""
        with s3_errors():
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if error_code(error) not in MISSING:
                    raise
                self._create_bucket()

    def put_file(self, key: str, path: Path, *, content_type: str = OCTETS) -> ObjectInfo:
        """See ``ObjectStore``; large files go in parts."""
        check_object_key(key)
        with s3_errors(key):
            self._in_bucket(
                lambda: self._client.upload_file(
                    str(path), self._bucket, key, ExtraArgs={"ContentType": content_type}
                )
            )
            return self._head(key)

    def put_bytes(self, key: str, data: bytes, *, content_type: str = OCTETS) -> ObjectInfo:
        """See ``ObjectStore``."""
        check_object_key(key)
        with s3_errors(key):
            self._put(key, data, content_type)
            return self._head(key)

    def put_if_absent(self, key: str, data: bytes, *, content_type: str = OCTETS) -> bool:
        """See ``ObjectStore``.

        boto3 repeats a PUT whose reply was lost, and the repeat is refused by the first one's
        success: so a refusal is followed by a look at what is there.
        """
        check_object_key(key)
        with s3_errors(key):
            try:
                self._put(key, data, content_type, IfNoneMatch="*")
            except ClientError as error:
                if error_code(error) not in _TAKEN:
                    raise
                return self._head(key).size_bytes == len(data) and self.get_bytes(key) == data
        return True

    def get_bytes(self, key: str) -> bytes:
        """See ``ObjectStore``."""
        return b"".join(self.stream(key))

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        """See ``ObjectStore``."""
        check_object_key(key)
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with s3_errors(key):
                self._client.download_file(self._bucket, key, str(partial))
                info = self._head(key)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return info

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, chunk_bytes: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        """See ``ObjectStore``."""
        check_object_key(key)
        if end is not None and end <= start:
            return iter(())
        request: dict[str, Any] = {"Bucket": self._bucket, "Key": key}
        if start > 0 or end is not None:
            request["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        with s3_errors(key):
            try:
                body = self._client.get_object(**request)["Body"]
            except ClientError as error:
                if error_code(error) in {"416", "InvalidRange"}:
                    return iter(())
                raise
        return _chunks(body, chunk_bytes)

    def head(self, key: str) -> ObjectInfo | None:
        """See ``ObjectStore``."""
        check_object_key(key)
        try:
            with s3_errors(key):
                return self._head(key)
        except ObjectMissing:
            return None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``ObjectStore``."""
        check_object_prefix(prefix)
        for page in self._pages(Prefix=prefix):
            for found in page.get("Contents", []):
                yield ObjectInfo(
                    key=found["Key"],
                    size_bytes=found["Size"],
                    etag=found["ETag"].strip('"'),
                    modified_at=found["LastModified"],
                )

    def children(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore``."""
        check_object_prefix(prefix)
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", []):
                yield found["Prefix"][len(prefix) :].rstrip("/")

    def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        check_object_key(key)
        with s3_errors(), _empty_without_bucket():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def delete_prefix(self, prefix: str) -> int:
        """See ``ObjectStore``."""
        keys = [info.key for info in self.list(prefix)]
        for start in range(0, len(keys), self._page_size):
            batch = [{"Key": key} for key in keys[start : start + self._page_size]]
            with s3_errors():
                reply = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True}
                )
            if reply.get("Errors"):
                raise StoreAway(f"{len(reply['Errors'])} objects under {prefix} were not deleted")
        return len(keys)

    def sweep_unfinished(self, *, older_than_seconds: float) -> int:
        """See ``ObjectStore``: uploads in parts that nobody completed."""
        youngest = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        count = 0
        with s3_errors(), _empty_without_bucket():
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=JOBS_PREFIX):
                for upload in page.get("Uploads", []):
                    if upload["Initiated"] < youngest:
                        count += self._abort(upload["Key"], upload["UploadId"])
        return count

    def presign(self, key: str, *, expires_seconds: int, filename: str) -> str | None:
        """See ``ObjectStore``; None unless delivery is ``presign``."""
        check_object_key(key)
        if self._presigner is None:
            return None
        if not all(sign.isascii() and (sign.isalnum() or sign in "._-") for sign in filename):
            raise ValueError(f"not a file name of ours: {filename[:60]!r}")
        url = self._presigner.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ResponseContentDisposition": f'attachment; filename="{filename}"',
            },
            ExpiresIn=expires_seconds,
        )
        return str(url)

    def ping(self) -> None:
        """See ``ObjectStore``: reads; a health check that only asks the server lies for a while."""
        with s3_errors():
            self._in_bucket(lambda: self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1))

    def _put(self, key: str, data: bytes, content_type: str, **conditions: str) -> None:
        self._in_bucket(
            lambda: self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, ContentType=content_type, **conditions
            )
        )

    def _in_bucket(self, call: Callable[[], Reply]) -> Reply:
        """Run ``call``; on a server that has no such bucket yet, create it and run it again."""
        try:
            return call()
        except (ClientError, S3UploadFailedError) as error:
            if NO_BUCKET not in str(error):
                raise
        self._create_bucket()
        return call()

    def _create_bucket(self) -> None:
        request: dict[str, Any] = {"Bucket": self._bucket}
        if self._client.meta.region_name != _DEFAULT_REGION:
            place = {"LocationConstraint": self._client.meta.region_name}
            request["CreateBucketConfiguration"] = place
        try:
            self._client.create_bucket(**request)
        except ClientError as error:
            # Another process was quicker. One that isn't ours is refused by the next call.
            if error_code(error) not in _BUCKET_TAKEN:
                raise

    def _abort(self, key: str, upload_id: str) -> bool:
        """Ends an upload in parts; False: it has ended meanwhile."""
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
        except ClientError as error:
            if error_code(error) not in _NO_UPLOAD:
                raise
            return False
        return True

    def _head(self, key: str) -> ObjectInfo:
        found = self._client.head_object(Bucket=self._bucket, Key=key)
        return ObjectInfo(
            key=key,
            size_bytes=found["ContentLength"],
            etag=found["ETag"].strip('"'),
            modified_at=found["LastModified"],
        )

    def _pages(self, **request: Any) -> Iterator[dict[str, Any]]:
        pages = {"PageSize": self._page_size}
        with s3_errors(), _empty_without_bucket():
            paginator = self._client.get_paginator("list_objects_v2")
            yield from paginator.paginate(Bucket=self._bucket, PaginationConfig=pages, **request)


@contextmanager
def _empty_without_bucket() -> Iterator[None]:
    """Where there is no bucket yet there is nothing to list or delete."""
    try:
        yield
    except ClientError as error:
        if error_code(error) != NO_BUCKET:
            raise


def _chunks(body: Any, chunk_bytes: int) -> Iterator[bytes]:
    try:
        with s3_errors():
            yield from body.iter_chunks(chunk_bytes)
    finally:
        body.close()
