"""boto3's errors, translated into the store's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error, S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from jobs.errors import ObjectMissing, StoreAway, StoreFull

NO_BUCKET = "NoSuchBucket"
MISSING = frozenset({"404", "NoSuchKey", "NotFound", NO_BUCKET})
_FULL = frozenset({"507", "XMinioStorageFull", "InsufficientStorage", "QuotaExceeded"})


def error_code(error: ClientError) -> str:
    """S3's word for what is wrong; empty when the server gave none."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def s3_errors(key: str | None = None) -> Iterator[None]:
    """Turn boto3's errors into the store's; ``key`` was to be read or written."""
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if key is not None and code in MISSING:
            raise ObjectMissing(f"no object {key}") from error
        if code in _FULL or status == 507:
            raise StoreFull("the object store has no room left") from error
        raise StoreAway(f"the object store refused: {code}") from error
    except S3UploadFailedError as error:
        # Multipart uploads wrap their cause; its text has the code.
        if any(word in str(error) for word in _FULL):
            raise StoreFull("the object store has no room left") from error
        raise StoreAway("the upload to the object store failed") from error
    except (BotoCoreError, HTTPClientError, Boto3Error) as error:
        raise StoreAway("the object store does not answer") from error
