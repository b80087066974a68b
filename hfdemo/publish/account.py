"""Who publishes: the access token's owner, and where it may write."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hfdemo.errors import PublishError
from hfdemo.models.saved_token import OF_THE_ENVIRONMENT, TokenSource
from hfdemo.models.tokens import ask_whoami
from hfdemo.publish.explain import TOKENS_PAGE, explained
from hfdemo.settings import Platform

WRITE = "repo.write"
"""A fine-grained token's permission to create and change repositories."""

READS_ONLY = ("read", "no_access")
"""The roles in an organisation that can't create Spaces."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """An access token's owner and permissions."""

    name: str
    role: str
    """`read`, `write` or `fineGrained`."""
    source: TokenSource
    organisations: Mapping[str, str]
    """The owner's role in each."""
    writes: frozenset[str] | None
    """Where a fine-grained token may write: accounts, organisations, single Spaces; None if the Hub doesn't say."""


def who_publishes(platform: Platform) -> Publisher | None:
    """Return the access token's owner; None if there is no token.

    Raises:
        ModelLoadError: the Hub doesn't know the token.
        PublishError: the Hub can't be reached.
    """
    with explained(""):
        found = ask_whoami(platform)
    if found is None:
        return None
    source, answer = found
    return _read(answer, source)


def no_token_error() -> PublishError:
    """Return the error for a missing access token."""
    return PublishError("publish_no_token", "publish_asks", tokens=TOKENS_PAGE)


def check_rights(publisher: Publisher, repo_id: str) -> None:
    """Check that a token may create and change a Space, as far as the Hub tells.

    Raises:
        PublishError: it may not; the text says which token would.
    """
    namespace = repo_id.split("/")[0]
    facts = {"namespace": namespace, "name": publisher.name, "source": publisher.source, "tokens": TOKENS_PAGE}
    advice = "other_token_variable" if publisher.source in OF_THE_ENVIRONMENT else "publish_asks"
    if publisher.role == "read":
        raise PublishError("publish_read_token", advice, **facts)
    if namespace != publisher.name and publisher.organisations.get(namespace, "read") in READS_ONLY:
        known = ", ".join([publisher.name, *publisher.organisations])
        raise PublishError("publish_not_yours", known=known, **facts)
    if publisher.writes is not None and not publisher.writes & {namespace, repo_id}:
        raise PublishError("publish_fine_grained", advice, **facts)


def _read(answer: Mapping[str, Any], source: TokenSource) -> Publisher:
    token = (answer.get("auth") or {}).get("accessToken") or {}
    organisations = {str(org["name"]): str(org.get("roleInOrg", "write")) for org in answer.get("orgs", [])}
    role = str(token.get("role", ""))
    fine_grained = token.get("fineGrained") if role == "fineGrained" else None
    return Publisher(str(answer.get("name", "")), role, source, organisations, _writes(fine_grained))


def _writes(fine_grained: Mapping[str, Any] | None) -> frozenset[str] | None:
    if fine_grained is None:
        return None
    scopes = fine_grained.get("scoped", [])
    return frozenset(str(scope["entity"].get("name")) for scope in scopes if WRITE in scope.get("permissions", []))
