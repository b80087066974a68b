"""A stand-in for the Hub's sign-in (OAuth with OpenID): whoever comes is signed in as whom a test says."""

import json
import time
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID, CLIENT_SECRET = "client-of-the-space", "secret-of-the-space"


def token_of(user: str) -> str:
    """Return the access token that a visitor gets."""
    return f"hf_oauth_TokenOf{user.title()}"


class HubOAuth:
    """The provider; `user` and `organisations` are those of whoever signs in next."""

    def __init__(self) -> None:
        self.url = ""
        self.user = "anna"
        self.organisations: list[str] = []
        self.refuses = False
        """Whether the visitor says no."""
        self.down = False
        """Whether it gives no tokens."""
        self.scopes = "openid profile"
        self.token_lasts_s = 3600
        self._key = RSAKey.generate_key(2048, {"kid": "1"})
        self._nonce = ""
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._configuration),
                Route("/oauth/authorize", self._authorize),
                Route("/oauth/token", self._token, methods=["POST"]),
                Route("/oauth/jwks", self._keys),
            ]
        )

    def _configuration(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/oauth/authorize",
                "token_endpoint": f"{self.url}/oauth/token",
                "jwks_uri": f"{self.url}/oauth/jwks",
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    def _authorize(self, request: Request) -> Response:
        asked = request.query_params
        assert asked["client_id"] == CLIENT_ID
        self.scopes = asked["scope"]
        self._nonce = asked.get("nonce", "")
        said = {"error": "access_denied"} if self.refuses else {"code": "code"}
        joint = "&" if "?" in asked["redirect_uri"] else "?"
        return RedirectResponse(f"{asked['redirect_uri']}{joint}{urlencode({**said, 'state': asked['state']})}")

    def _token(self, _: Request) -> Response:
        if self.down:
            return Response("the Hub is away", 503)
        now = int(time.time())
        claims: dict[str, Any] = {
            **{"iss": self.url, "aud": CLIENT_ID, "sub": "1", "iat": now, "exp": now + 3600, "nonce": self._nonce},
            **{"name": self.user.title(), "preferred_username": self.user, "profile": "", "picture": ""},
            "orgs": [{"preferred_username": name, "name": name} for name in self.organisations],
        }
        identity = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self._key)
        token = {"access_token": token_of(self.user), "token_type": "bearer", "expires_in": self.token_lasts_s}
        return JSONResponse({**token, "scope": self.scopes, "id_token": identity})

    def _keys(self, _: Request) -> Response:
        return JSONResponse({"keys": [json.loads(json.dumps(self._key.as_dict(private=False)))]})
