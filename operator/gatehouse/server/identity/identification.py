"""From the head of a request to the rights of its caller."""

from __future__ import annotations

from dataclasses import dataclass

from gatehouse.server.identity.access import Access, AccessReviews, CallerClients
from gatehouse.server.identity.authentication import Authentication
from gatehouse.server.identity.headers import HeaderPolicy, Peer, RawHeaders, credential_of

__all__ = ["Identification"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """All that is needed to say who asks and what they may do."""

    policy: HeaderPolicy
    authentication: Authentication
    reviews: AccessReviews
    clients: CallerClients

    async def access(self, headers: RawHeaders, peer: Peer) -> Access:
        """The rights of the caller. Raises Unauthenticated, Forbidden and Unavailable."""
        credential = credential_of(headers, peer=peer, policy=self.policy)
        caller = await self.authentication.caller(credential)
        return Access(caller, reviews=self.reviews, clients=self.clients)
