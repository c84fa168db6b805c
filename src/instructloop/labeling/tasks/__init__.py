"""Task pages: what labelers work on. Forms and letters here; leases, drafts and answers are the store's."""

from fastapi import APIRouter

from instructloop.labeling.tasks import reading, routes

router = APIRouter()
router.include_router(reading.router)  # first: /work/keys is no queue
router.include_router(routes.router)

__all__ = ["router"]
