"""Fixtures that several files share: the stand-ins in a process of their own, and a Segment."""

from collections.abc import Iterator

import pytest

from app.inbound.segment import SegmentDestination
from tests.sandbox_process import Sandbox, running_sandbox
from tests.segment_server import Segment, delivering_to, serving


@pytest.fixture(scope="module")
def standins() -> Iterator[Sandbox]:
    """Both stand-ins of the sandbox, started once for a file."""
    with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(standins: Sandbox) -> Sandbox:
    """The stand-ins, as new."""
    standins.reset()
    return standins


@pytest.fixture
def segment() -> Iterator[Segment]:
    """A Segment that answers as the test tells it."""
    with serving() as stand_in:
        yield stand_in


@pytest.fixture
def destination(segment: Segment) -> Iterator[SegmentDestination]:
    """The inbound way out, to that Segment."""
    with delivering_to(segment.url) as made:
        yield made
