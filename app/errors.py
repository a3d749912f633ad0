"""What was wrong with the input, in the words and the shape that a sender gets to read."""

from collections.abc import Mapping, Sequence


class BadInput(Exception):
    """A call or webhook that cannot be used, however often it is sent.

    `code` is stable and machine-readable (`no_identity`, `invalid_call` …), `message` is for
    people, `errors` names the fields: `{"products[2].price": ["a price is required"]}`. Nothing in
    them may quote a secret.
    """

    def __init__(
        self, code: str, message: str, errors: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.errors = {name: list(texts) for name, texts in (errors or {}).items()}
