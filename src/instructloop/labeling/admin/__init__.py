"""Routes of this part of the labeling app."""

from fastapi import APIRouter

router = APIRouter()

__all__ = ["router"]
