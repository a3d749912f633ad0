"""What every Iterable event is called in Segment: one table, in which a newcomer adds a row."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventType:
    """One row of the table.

    `own_action`: the person did it (an open, a click), so that ip, userAgent and campaign describe
    the person's own context. `mobile_spec`: which properties of Segment's mobile spec the event
    carries: `campaign`, `action` (see `app/inbound/spec.py`).
    """

    iterable: str
    segment: str
    own_action: bool = False
    mobile_spec: tuple[str, ...] = ()


# Names are those of Iterable's own Segment integration ("Sending Data from Iterable to Segment")
# where it has one; the rest follow its style, in which a hand-over to the provider is "Delivered".
# "WhatsApp Sent" is the exception: whatsAppReceived may turn out to be the delivery receipt.
EVENT_TYPES = (
    # Email. blastSend and triggeredSend are the kinds of emailSend in Iterable's older articles.
    EventType("emailSend", "Email Delivered"),
    EventType("blastSend", "Email Delivered"),
    EventType("triggeredSend", "Email Delivered"),
    EventType("emailSendSkip", "Email Send Skip"),
    EventType("emailOpen", "Email Opened", own_action=True),
    EventType("emailClick", "Email Link Clicked", own_action=True),
    EventType("emailBounce", "Email Bounced"),
    EventType("emailComplaint", "Email Marked as Spam"),
    EventType("hostedUnsubscribeClick", "Hosted Unsubscribe Click", own_action=True),
    # Subscriptions, whatever the medium: an SMS "STOP" is an emailUnSubscribe too.
    EventType("emailSubscribe", "Subscribed"),
    EventType("emailUnSubscribe", "Unsubscribed"),
    # Mobile push
    EventType("pushSend", "Push Delivered", mobile_spec=("campaign",)),
    EventType("pushSendSkip", "Push Send Skip"),
    EventType("pushOpen", "Push Opened", own_action=True, mobile_spec=("campaign", "action")),
    EventType("pushBounce", "Push Bounced", mobile_spec=("campaign", "action")),
    EventType("pushUninstall", "Mobile App Uninstalled"),
    # SMS and RCS
    EventType("smsSend", "SMS Delivered"),
    EventType("smsSendSkip", "SMS Send Skip"),
    EventType("smsBounce", "SMS Bounced"),
    EventType("smsClick", "SMS Clicked", own_action=True),
    EventType("smsReceived", "SMS Received"),
    EventType("rcsSend", "RCS Delivered"),
    EventType("rcsSendSkip", "RCS Send Skip"),
    # In-app and the mobile inbox
    EventType("inAppSend", "In App Sent"),
    EventType("inAppSendSkip", "In App Send Skip"),
    EventType("inAppDelivery", "In App Delivered"),
    EventType("inAppOpen", "In App Opened", own_action=True),
    EventType("inAppClick", "In App Clicked", own_action=True),
    EventType("inAppClose", "In App Closed"),
    EventType("inAppDelete", "In App Deleted"),
    EventType("inAppRecall", "In App Recalled"),
    EventType("inboxSession", "In App Inbox Session"),
    EventType("inboxMessageImpression", "In App Inbox Message Impression"),
    # Web push
    EventType("webPushSend", "Web Push Delivered"),
    EventType("webPushSendSkip", "Web Push Send Skip"),
    EventType("webPushClick", "Web Push Clicked", own_action=True),
    # Embedded messages
    EventType("embeddedSend", "Embedded Message Sent"),
    EventType("embeddedSendSkip", "Embedded Message Send Skip"),
    EventType("embeddedReceived", "Embedded Message Received"),
    EventType("embeddedImpression", "Embedded Message Impression"),
    EventType("embeddedClick", "Embedded Message Clicked", own_action=True),
    EventType("embeddedSession", "Embedded Session"),
    # WhatsApp
    EventType("whatsAppSend", "WhatsApp Sent"),
    EventType("whatsAppSendSkip", "WhatsApp Send Skip"),
    EventType("whatsAppReceived", "WhatsApp Received"),
    EventType("whatsAppSeen", "WhatsApp Seen", own_action=True),
    EventType("whatsAppClick", "WhatsApp Clicked", own_action=True),
    EventType("whatsAppBounce", "WhatsApp Bounced"),
    # Journeys
    EventType("journeyExit", "Journey Exited"),
)

_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\s-]+")
_SPELLINGS = {"sms": "SMS", "rcs": "RCS", "whatsapp": "WhatsApp"}


def unknown_event(name: str) -> EventType:
    """A row for an event type that Iterable has added since: `fooBarSend` → `Foo Bar Send`."""
    text = name.replace("WhatsApp", "Whatsapp").replace("whatsApp", "whatsapp")
    words = [word for word in _WORD_BOUNDARY.sub(" ", text).split(" ") if word]
    title = " ".join(_SPELLINGS.get(word.lower(), word[0].upper() + word[1:]) for word in words)
    return EventType(name, title or name)
