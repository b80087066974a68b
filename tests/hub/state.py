"""The stand-in's models, what it was asked, and the switches for what goes wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from starlette.requests import Request

from tests.hub.models import Model
from tests.hub.refusals import Refusal, Refused, rate_limited
from tests.hub.spaces import Spaces


class RateLimit(NamedTuple):
    """A limit that is used up."""

    bucket: Literal["api", "resolvers"]
    seconds: int


class Hub:
    """Models by their id: each a `Model`, or the files of a public one.

    Everything here may be read and changed while the hub is served.
    """

    def __init__(self, models: Mapping[str, Model | Mapping[str, bytes] | Path]) -> None:
        self.models = {
            model_id: model if isinstance(model, Model) else Model(model) for model_id, model in models.items()
        }
        self.spaces = Spaces()
        self.url = ""
        """Where it is served; known once it is."""
        self.cdn_url = ""
        """The other origin, from which large files come."""
        self.environ: dict[str, str] = {}
        """What a process needs in its environment to take this for the Hub, and to trust its certificate."""

        self.requests: list[str] = []
        """Every request: its method and path."""
        self.ranges: list[str] = []
        """The `Range` header of every request for a part of a file."""
        self.cdn_saw_authorization: list[bool] = []
        """For every request to the CDN, whether a token came with it."""

        self.down: Literal[False, "503", "hangs up", "silent"] = False
        """Whether it answers 503 only, closes all connections, or doesn't answer at all."""
        self.bytes_per_s: float | None = None
        """How fast the CDN sends each file; None is as fast as it can."""
        self.cuts_left = 0
        self.cut_at_bytes = 0
        self._rate_limit: RateLimit | None = None
        self._refusals_once: list[tuple[str, Refusal]] = []

    def forget(self) -> None:
        """Be as new, at the same addresses."""
        served = self.url, self.cdn_url, self.environ, self.spaces.host_url
        self.__init__(self.models)  # type: ignore[misc]
        self.url, self.cdn_url, self.environ, self.spaces.host_url = served

    def rate_limit(self, seconds: int | None, bucket: Literal["api", "resolvers"] = "api") -> None:
        """Answer 429 from now on, as if the limit were over in so many seconds; None ends it.

        The Hub counts questions to its API ("api") and requests for files ("resolvers") apart.
        """
        self._rate_limit = None if seconds is None else RateLimit(bucket, seconds)

    def refuse_once(
        self,
        path_part: str,
        status: int = 401,
        message: str = "Invalid username or password.",
        code: str | None = None,
    ) -> None:
        """Refuse the next request whose path holds `path_part`."""
        self._refusals_once.append((path_part, Refusal(status, message, code)))

    def cut_after(self, size: int, times: int = 1) -> None:
        """Break the CDN's next answers off when so many bytes of each are sent; shorter ones stay whole."""
        self.cut_at_bytes, self.cuts_left = size, times

    def receive(self, request: Request) -> None:
        """Record a request.

        Raises:
            Refused: a switch says so.
        """
        path = request.url.path
        self.requests.append(f"{request.method} {path}")
        if "Range" in request.headers:
            self.ranges.append(request.headers["Range"])
        if self.down == "503":
            raise Refused(Refusal(503, "Service Unavailable"))
        for once in self._refusals_once:
            if once[0] in path:
                self._refusals_once.remove(once)
                raise Refused(once[1])
        if self._rate_limit and self._rate_limit.bucket == _bucket(path):
            raise Refused(rate_limited(*self._rate_limit))


def _bucket(path: str) -> str:
    if path.startswith("/api/"):
        return "api"
    return "resolvers" if "/resolve/" in path else "none"
