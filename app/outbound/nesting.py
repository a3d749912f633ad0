"""How deep objects and arrays of a call may be nested."""

from typing import Any

from app.errors import BadInput

# orjson writes at most 254 levels; a body has a few of its own.
DEEPEST = 200


def too_deep() -> BadInput:
    """The error for what is nested deeper than a request body can carry."""
    return BadInput(
        "nested_too_deep", f"objects and arrays may be nested at most {DEEPEST} levels deep"
    )


def check_depth(value: dict[str, Any] | list[Any], depth: int = 0) -> None:
    """Raise BadInput `nested_too_deep` where it applies."""
    if depth > DEEPEST:
        raise too_deep()
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (dict, list)):
            check_depth(inner, depth + 1)
