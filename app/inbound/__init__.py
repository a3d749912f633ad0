"""Iterable → Segment: the inbound direction."""
