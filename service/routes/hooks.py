"""What a receiver of webhooks needs to know who speaks."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.access import CallerDep
from service.context import ServicesDep
from service.problems import ProblemError, caller_responses
from service.webhooks import secret_of

router = APIRouter(tags=["service"])


class WebhookSecret(BaseModel):
    """The caller's own."""

    secret: str = Field(description="Key of `OnePair-Signature`'s HMAC-SHA-256, as text.")


@router.get(
    "/webhook-secret",
    summary="The key that signs your webhooks",
    response_model=WebhookSecret,
    responses=caller_responses("webhooks_off"),
)
async def webhook_secret(services: ServicesDep, caller: CallerDep) -> WebhookSecret:
    """Each API key has its own. It stays the same as long as the service's does."""
    if not services.settings.webhooks:
        raise ProblemError("webhooks_off")
    return WebhookSecret(secret=secret_of(services.settings, caller.owner))
