"""Set-up, logging in and out, invitations, new passwords, and one's own account."""

from instructloop.labeling.account.routes import router

__all__ = ["router"]
