"""The courier: one loop for both directions."""

from app.courier.courier import Courier

__all__ = ["Courier"]
