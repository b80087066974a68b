"""Where an endpoint is, however its address was written, and whose key it is shown."""

import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from hfdemo.errors import InvalidInput
from hfdemo.models.saved_token import can_be_sent
from hfdemo.settings import Settings

ROUTER = "https://router.huggingface.co/v1"
"""Where Hugging Face passes requests on to inference providers."""

MIN_SECRET_CHARS = 4
"""What is shorter keeps no secret, and stands in other words."""

_OPERATION = re.compile(r"(?:/chat)?/completions\Z|/(?:models|responses|chat|embeddings|messages)\Z", re.I)
_VERSION = re.compile(r"/v\d\w*\Z", re.I)


@dataclass(frozen=True, slots=True)
class Address:
    """An endpoint of OpenAI's protocol."""

    base: str
    """What `/models` and `/chat/completions` are put behind."""
    other_base: str = ""
    """Where they are if they aren't there."""
    key: str = field(default="", repr=False)
    """What it is shown as a bearer token; empty if it asks for none."""
    key_name: str = "HFDEMO_ENDPOINT_KEY"
    """Where the host sets that."""
    of_visitor: bool = False
    """Whether each request is shown its visitor's own access token in place of that."""

    @property
    def host(self) -> str:
        """The name that people are told."""
        return urlsplit(self.base).netloc.rpartition("@")[2].lower()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What people are not shown: the key, a password in the address, and what stands behind its question mark."""
        parts = urlsplit(self.base)
        named = (self.key, parts.password or "", *(value for _, value in parse_qsl(parts.query)))
        written = {form for secret in named for form in (secret, unquote(secret), quote(secret, safe=""))}
        return tuple(sorted((form for form in written if len(form) >= MIN_SECRET_CHARS), key=len, reverse=True))

    @property
    def is_router(self) -> bool:
        """Whether providers answer, by Hugging Face's router."""
        return self.base == ROUTER

    @property
    def root(self) -> str:
        """The base without its version, where servers tell about themselves."""
        parts = urlsplit(self.base)
        return urlunsplit(parts._replace(path=_VERSION.sub("", parts.path)))

    def url(self, path: str, base: str = "") -> str:
        """Return the address of an operation; what stands behind a question mark stays there."""
        parts = urlsplit(base or self.base)
        place = parts.netloc.rpartition("@")[2] if self.key else parts.netloc  # one header holds the one or the other
        return urlunsplit(parts._replace(netloc=place, path=parts.path + path))

    def shown(self, access_token: str) -> "Address":
        """Return the same endpoint with the key that a request shows it.

        Raises:
            InvalidInput: that is a visitor's, and there is none.
        """
        if not self.of_visitor:
            return self
        if not access_token or not self.is_router:
            raise InvalidInput("credit_sign_in")
        return replace(self, key=access_token)

    def swapped(self) -> "Address":
        """Return the same endpoint where else its operations may be."""
        return replace(self, base=self.other_base, other_base=self.base)

    def at(self, base: str) -> "Address":
        """Return the same endpoint at the base where it was found."""
        return replace(self, base=base, other_base="")


def find_address(settings: Settings, hub_token: str | None) -> Address:
    """Return where the host's endpoint is.

    Args:
        settings: name an endpoint, or a model with its provider.
        hub_token: the Hub's access token. It is shown to the Hub's own router, and to nobody else; to nobody at all
            where visitors pay.
    """
    if settings.visitors_pay:
        return Address(ROUTER, of_visitor=True)
    if settings.endpoint is None:
        return Address(ROUTER, key=hub_token if hub_token and can_be_sent(hub_token) else "", key_name="HF_TOKEN")
    base, other = _bases(settings.endpoint)
    return Address(base, other, settings.endpoint_key or "")


def _bases(endpoint: str) -> tuple[str, str]:
    """Return where the operations of an endpoint should be, and where else they may be."""
    parts = urlsplit(endpoint)
    path = re.sub("/{2,}", "/", parts.path).rstrip("/")
    written = _VERSION.sub(lambda version: version[0].lower(), _OPERATION.sub("", path))
    base = urlunsplit(parts._replace(path=written, fragment=""))
    if written.lower() != path.lower() or _VERSION.search(written):
        return base, ""
    return urlunsplit(parts._replace(path=written + "/v1", fragment="")), base
