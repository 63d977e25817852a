"""Which events of a bucket a MinIO sends to a webhook that it was started with.

The webhook itself, with its address and token, is in MinIO's environment: ``MINIO_NOTIFY_WEBHOOK_ENABLE_<NAME>`` and
its neighbours. This module only names the bucket whose events go there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gatehouse.storage.s3.users import StoreAdministrator, UsersNotReady, UsersRefused, client_options

if TYPE_CHECKING:
    from urllib3 import PoolManager

__all__ = ["BucketEvents", "ensure_bucket_events"]

_EVENTS: Final = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
_ID: Final = "gatehouse"


@dataclass(frozen=True, slots=True)
class BucketEvents:
    """The events of a bucket go to the webhook of this name, in capitals as in MinIO's environment."""

    bucket: str
    webhook: str


def ensure_bucket_events(
    administrator: StoreAdministrator, events: Sequence[BucketEvents], *, http: PoolManager | None = None
) -> None:
    """Ensures that each bucket sends its events. Other targets of the bucket stay. A repetition writes nothing.

    Raises:
        UsersNotReady: no answer, or the store is starting.
        UsersRefused: the store refused, for example because it was started without the webhook.
    """
    from minio import Minio  # noqa: PLC0415 - as in `gatehouse.storage.s3.users`
    from minio.error import S3Error, ServerError  # noqa: PLC0415
    from minio.notificationconfig import NotificationConfig, QueueConfig  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    client = Minio(**client_options(administrator, http))
    for wanted in events:
        doing = f"sending events of bucket {wanted.bucket} at {administrator.url} to the webhook {wanted.webhook}"
        arn = f"arn:minio:sqs:{administrator.region}:{wanted.webhook}:webhook"
        try:
            found = client.get_bucket_notification(wanted.bucket)
            queues = list(found.queue_config_list or [])
            if any(queue.queue == arn and set(_EVENTS) <= set(queue.events) for queue in queues):
                continue
            queue = QueueConfig(queue=arn, events=list(_EVENTS), config_id=_ID)
            client.set_bucket_notification(
                wanted.bucket,
                NotificationConfig(
                    cloud_func_config_list=found.cloud_func_config_list,
                    queue_config_list=[*(other for other in queues if other.queue != arn), queue],
                    topic_config_list=found.topic_config_list,
                ),
            )
        except S3Error as error:
            raise UsersRefused(f"{doing}: {_code(error.code)}; start MinIO with MINIO_NOTIFY_WEBHOOK_*") from None
        except (ServerError, HTTPError) as error:
            raise UsersNotReady(f"{doing}: no answer ({type(error).__name__})") from None


def _code(code: str | None) -> str:
    return code if code and code.isascii() and code.isalpha() and len(code) <= 64 else "refused"
