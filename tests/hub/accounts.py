"""The people who ask, told apart by their tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tests.hub.refusals import Refused, bad_token

# Put together, so that nothing in this repository looks like a real token.
GOOD_TOKEN = "hf_" + "good" * 6
READ_TOKEN = "hf_" + "read" * 6
NOT_ASKED_TOKEN = "hf_" + "notasked" * 3
PENDING_TOKEN = "hf_" + "pending" * 4
REJECTED_TOKEN = "hf_" + "rejected" * 3
RESET_TOKEN = "hf_" + "reset" * 5
FINE_GRAINED_TOKEN = "hf_" + "fine" * 6
BAD_TOKEN = "hf_" + "bad" * 8
"""Any token that is not in `ACCOUNTS` is as bad as this one."""


@dataclass(frozen=True)
class Account:
    """Whom a token belongs to, and what the token may do."""

    role: Literal["read", "write", "fineGrained"]
    request: Literal["accepted", "not asked", "pending", "rejected", "reset"]
    """What came of this person's request for every gated model."""
    may_read_gated: bool = True
    """A right that a fine-grained token can lack although the person was accepted."""

    @property
    def sees_private(self) -> bool:
        return self.request == "accepted" and self.may_read_gated

    def whoami(self) -> dict:
        token = {"displayName": "test", "role": self.role, "createdAt": "2026-01-01T00:00:00.000Z"}
        return {
            "type": "user",
            "id": "1",
            "name": "someone",
            "fullname": "Some One",
            "isPro": False,
            "canPay": False,
            "emailVerified": True,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": token},
        }


ACCOUNTS = {
    GOOD_TOKEN: Account("write", "accepted"),
    READ_TOKEN: Account("read", "accepted"),
    NOT_ASKED_TOKEN: Account("read", "not asked"),
    PENDING_TOKEN: Account("read", "pending"),
    REJECTED_TOKEN: Account("read", "rejected"),
    RESET_TOKEN: Account("read", "reset"),
    FINE_GRAINED_TOKEN: Account("fineGrained", "accepted", may_read_gated=False),
}


def find_account(headers: Mapping[str, str]) -> Account | None:
    """Return who asks, or None for somebody without a token.

    Raises:
        Refused: there is a token, and nobody has it.
    """
    authorization = headers.get("Authorization")
    if authorization is None:
        return None
    account = ACCOUNTS.get(authorization.removeprefix("Bearer "))
    if account is None:
        raise Refused(bad_token())
    return account
