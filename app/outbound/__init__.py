"""Segment → Iterable: the outbound direction."""
