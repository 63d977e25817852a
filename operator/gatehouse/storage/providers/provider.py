"""What a provider declares: the form of its URIs, its places, the names of its settings, and its connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Connection", "Place", "Provider"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a bucket is reached: the endpoint without a slash at its end, and the region to sign for.

    ``any_addressing`` means that the endpoint takes the bucket both in the path and in the host's name.
    """

    endpoint: str
    region: str
    any_addressing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A store and its reader's credentials, as KServe loads artifacts with them; anonymous without credentials.

    ``key`` is the name of the connection. ``credentials`` are the values of the provider's ``credential_keys``.
    """

    provider: Provider = field(repr=False)
    key: str
    endpoint: str
    region: str
    bucket: str = ""
    ca_config_map: str = ""
    credentials: tuple[str, ...] = field(default=(), repr=False)

    def of_kserve(self) -> dict[str, str]:
        """The entry of storage-config: KServe accepts strings only."""
        return self.provider.kserve_connection(self)

    def of_openshift_ai(self) -> dict[str, str]:
        """The keys of a data connection."""
        return self.provider.data_connection(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One kind of object store, chosen by the scheme of a URI.

    ``bucket`` and ``characters`` are patterns: of the name of a bucket, and of the characters between two slashes.
    """

    scheme: str
    bucket: str
    characters: str

    stores: str
    """``module:name`` of the class that opens stores for the operator, as the port ``ArtifactStores`` says."""
    commands: str
    """``module:name`` of the function that opens a bucket with the settings of a person, as ``BucketOpener`` says."""

    regions: str
    """What a region is, for a store that names no endpoint."""
    place: Callable[[str | None, str], Place | None]
    """The place of an endpoint (None where the store names none) and a region; None where there is no such region."""
    identity: Callable[[str | None, str], str]
    """One spelling of an endpoint (or None) and a region: two stores of one spelling have the same buckets."""

    credential_keys: tuple[str, ...]
    """Keys of a Secret with credentials, and variables of the environment, in the order that clients take them."""
    session_key: str
    """The key of a token that only temporary credentials have."""
    command_remedies: Mapping[str, str]
    """What a person does about the reason of a refusal at a command, whose settings are not those of the operator."""

    connection_type: str
    """The type of the store in connections of KServe and OpenShift AI."""
    kserve_connection: Callable[[Connection], dict[str, str]]
    data_connection: Callable[[Connection], dict[str, str]]
    virtual_host_variable: str
    """The variable that makes KServe's initializer put the bucket into the host's name."""

    @property
    def example(self) -> str:
        """A URI of an artifact."""
        return f"{self.scheme}://bucket/folder/"

    def pattern(self, path: str) -> str:
        """The pattern of URIs of the provider, whose ``path`` follows the bucket."""
        return f"{self.scheme}://{self.bucket}{path}"
