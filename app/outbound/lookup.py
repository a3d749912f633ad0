"""Finding keys of traits and properties whatever their spelling.

Case, `_`, `-` and spaces do not count: `product_id`, `productId` and `Product ID` are one key
(Segment spec: names are case-insensitive, camelCase or snake_case). The exact spelling comes first.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_IGNORED = str.maketrans("", "", "_- ")

# Keys longer together than this are not remembered: a sender must not be able to fill the memory.
_REMEMBERED_LENGTH = 2048


def folded(name: str) -> str:
    """The form in which two spellings of one key are equal."""
    return name.translate(_IGNORED).lower()


class Names:
    """Names to find in objects. What an object's keys mean is remembered by its keys, for objects
    of one event nearly always have the same ones."""

    def __init__(self, *names: str) -> None:
        self._names: dict[str, str] = {}
        for name in names:
            self._names.setdefault(folded(name), name)
        self._remembered = lru_cache(maxsize=512)(self._meanings)

    def meaning(self, key: str) -> str | None:
        """The name that `key` is a spelling of."""
        return self._names.get(folded(key))

    def keys(self, source: Mapping[str, Any]) -> Mapping[str, str]:
        """The keys of `source` that are spellings of names, with their names. Exact spellings come
        last."""
        keys = tuple(source)
        known = len("".join(keys)) <= _REMEMBERED_LENGTH
        return self._remembered(keys) if known else self._meanings(keys)

    def values(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """What `source` has under the names; nulls count as absent."""
        keys = self.keys(source)
        if not keys:
            return {}
        return {name: value for key, name in keys.items() if (value := source[key]) is not None}

    def _meanings(self, keys: tuple[str, ...]) -> dict[str, str]:
        # Of several spellings the first counts, before all the exact one: the one that is last here
        # is the one that stays.
        found = {key: name for key in reversed(keys) if (name := self.meaning(key)) is not None}
        return {key: found[key] for key in sorted(found, key=lambda key: key == found[key])}
