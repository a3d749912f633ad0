"""Iterable's endpoints that the bridge uses, with their published limits."""

from collections.abc import Mapping

from app.destination import RateLimit

DAY = 86_400.0

# Requests per second and project (Iterable's API specification); none where none is published.
LIMITS: Mapping[str, tuple[RateLimit, ...]] = {
    "users/update": (RateLimit(500),),
    "users/bulkUpdate": (RateLimit(5),),
    "users/updateEmail": (),
    "users/getByEmail": (RateLimit(100),),
    "users/delete": (RateLimit(100),),
    "users/forget": (RateLimit(3), RateLimit(1_000, DAY)),
    "users/registerDeviceToken": (RateLimit(500),),
    "users/registerBrowserToken": (),
    "users/disableDevice": (),
    "events/track": (RateLimit(2_000),),
    "events/trackBulk": (RateLimit(10),),
    "commerce/trackPurchase": (),
    "commerce/updateCart": (),
}

# What events/track takes beside the identifiers and the name (Iterable, API: TrackRequest); a
# property can be copied there.
LIFTABLE = ("campaignId", "templateId", "createNewFields", "createdAt", "id")
