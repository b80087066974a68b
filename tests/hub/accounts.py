"""The people who ask, told apart by their tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tests.hub.refusals import Refused, bad_token

# Put together, so that nothing in this repository looks like a real token.
GOOD_TOKEN = "hf_" + "good" * 6
READ_TOKEN = "hf_" + "read" * 6
NOT_ASKED_TOKEN = "hf_" + "notasked" * 3
PENDING_TOKEN = "hf_" + "pending" * 4
REJECTED_TOKEN = "hf_" + "rejected" * 3
RESET_TOKEN = "hf_" + "reset" * 5
FINE_GRAINED_TOKEN = "hf_" + "fine" * 6
FINE_WRITE_TOKEN = "hf_" + "finewrite" * 3
PAYING_TOKEN = "hf_" + "paying" * 4
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
    writes: tuple[str, ...] = ()
    """Where a fine-grained token may write."""
    can_pay: bool = False
    """Whether this person has PRO and a way to pay."""

    name = "someone"
    organisations: ClassVar = {"team": "write", "readers": "read"}
    """The person's role in each."""

    @property
    def sees_private(self) -> bool:
        return self.request == "accepted" and self.may_read_gated

    def may_write(self, namespace: str) -> bool:
        if self.role == "fineGrained":
            return namespace in self.writes
        return self.role == "write" and (namespace == self.name or self.organisations.get(namespace) == "write")

    def whoami(self) -> dict:
        token: dict[str, Any] = {"displayName": "test", "role": self.role, "createdAt": "2026-01-01T00:00:00.000Z"}
        if self.role == "fineGrained":
            read, write = ["repo.content.read"], ["repo.content.read", "repo.write"]
            scopes = [{"entity": {"_id": "2", "type": "org", "name": "team"}, "permissions": read}]
            scopes += [
                {"entity": {"_id": "1", "type": "user", "name": name}, "permissions": write} for name in self.writes
            ]
            token["fineGrained"] = {"canReadGatedRepos": self.may_read_gated, "global": [], "scoped": scopes}
        return {
            "type": "user",
            "id": "1",
            "name": self.name,
            "fullname": "Some One",
            "isPro": self.can_pay,
            "canPay": self.can_pay,
            "emailVerified": True,
            "orgs": [
                {"type": "org", "id": "2", "name": name, "roleInOrg": role}
                for name, role in self.organisations.items()
            ],
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
    FINE_WRITE_TOKEN: Account("fineGrained", "accepted", writes=("someone",)),
    PAYING_TOKEN: Account("write", "accepted", can_pay=True),
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
