"""Pages of a labeler's own affairs: home, onboarding, screening, surveys, messages."""

from fastapi import APIRouter

from instructloop.labeling.people import messages, onboarding, screening, surveys

router = APIRouter()
for part in (onboarding, screening, surveys, messages):
    router.include_router(part.router)

__all__ = ["router"]
