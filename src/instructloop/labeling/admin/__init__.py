"""Pages of the project: progress, quality, agreement, queues, prompts, guidelines, users, exports, audit."""

from fastapi import APIRouter

from instructloop.labeling.admin import books, disagreements, overview, people, queues, screening, texts, users

router = APIRouter()
for part in (overview, people, screening, disagreements, queues, texts, users, books):
    router.include_router(part.router)

__all__ = ["router"]
