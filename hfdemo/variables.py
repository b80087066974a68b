"""Variables that belong to other programs, made usable before libraries read them: proxies, access token, port."""

import importlib.util
import re
import ssl
import unicodedata
from collections.abc import Mapping, MutableMapping
from ipaddress import IPv6Address, ip_network
from urllib.parse import urlsplit

from hfdemo.errors import SettingsError, install_command

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
NO_PROXIES = ("no_proxy", "NO_PROXY")

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""What no proxy leads to: the page's own address."""

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
"""Source: httpx 0.28, `_config.py`."""

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

COPIED_ALONG = (
    "\ufeff\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069"
    "\xa0\u3000\u201c\u201d\u2018\u2019`\"' \t\r\n"
)
"""What comes along with a word that is copied or read from a file: byte order mark, marks without width, such as the
one that Windows puts before a path, spaces, quotes."""

NUMBER_VARIABLES = {
    "GRADIO_SERVER_PORT": (1, 65_535),
    "GRADIO_NUM_PORTS": (1, 65_535),
    "GRADIO_NODE_NUM_PORTS": (1, 65_535),
    "GRADIO_ANALYTICS_MAX_EVENTS": (1, 1_000_000),
    "GRADIO_DEBUG": (0, 1),
    "HF_HUB_DOWNLOAD_TIMEOUT": (1, 86_400),
    "HF_HUB_ETAG_TIMEOUT": (1, 86_400),
}
"""Whole numbers that libraries read as they are imported, with what they may be: anything else is a traceback."""

ROOT_PATH = "GRADIO_ROOT_PATH"

ENDPOINT = "HF_ENDPOINT"
FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ASSETS_CACHE", "XDG_CACHE_HOME")
"""Where the Hub's client asks, and where it keeps things."""

NONE_IF_EMPTY = (*NUMBER_VARIABLES, "GRADIO_SERVER_NAME", ROOT_PATH, "SSL_CERT_FILE", ENDPOINT, *FOLDERS)
"""What a Compose file sets to nothing is as if it weren't set; libraries would take it for a value."""


def sanitize_variables(environ: MutableMapping[str, str]) -> None:
    """Change the variables that libraries would stumble over.

    Addresses of this machine are asked without a proxy, tokens lose what is around them, a path gets its slash, an
    address its scheme, and an empty value is none.
    """
    if ROOT_PATH in environ:
        environ[ROOT_PATH] = _root_path(environ[ROOT_PATH])
    if ENDPOINT in environ:
        environ[ENDPOINT] = _hub_address(environ[ENDPOINT])
    for name in NONE_IF_EMPTY:
        if name in environ:
            environ[name] = environ[name].strip()
            if not environ[name]:
                del environ[name]
    for name in PROXIES:
        if name in environ:  # a file that was written on Windows ends its lines in two characters
            environ[name] = environ[name].strip()
    for name in NO_PROXIES:
        if name in environ:  # libraries read it even where there is no proxy
            environ[name] = ",".join(filter(None, map(_no_proxy_entry, _listed(environ[name]))))
    if any(environ.get(name, "").strip() for name in PROXIES):
        own = environ.get("GRADIO_SERVER_NAME", "").strip()
        named = [host for name in NO_PROXIES for host in _listed(environ.get(name, ""))]
        hosts = ",".join(dict.fromkeys([*named, *LOOPBACK, *([own] if own else [])]))
        environ.update(dict.fromkeys(NO_PROXIES, hosts))
    for name in TOKEN_VARIABLES:
        if name in environ:
            environ[name] = environ[name].strip(COPIED_ALONG)


def _root_path(written: str) -> str:
    """Return the path below which a proxy serves the page, with the slash that each page needs; nothing for a root.

    Gradio takes a whole address, too.
    """
    path = written.strip()
    if path.lower().startswith(("http://", "https://")):
        return path
    return f"/{path.strip('/')}" if path.strip("/") else ""


def _hub_address(written: str) -> str:
    """Return the address of a mirror of the Hub with its scheme, without which no client can ask it."""
    address = written.strip(COPIED_ALONG)
    return address if "://" in address or not address else f"https://{address}"


def _listed(hosts: str) -> list[str]:
    """Return the entries of a list of hosts, with commas or white space between them."""
    return hosts.replace(",", " ").split()


def _no_proxy_entry(entry: str) -> str:
    """Return a host that is asked without a proxy in a form that httpx can read; nothing if there is none.

    What httpx can't parse is an error as soon as it is used: addresses in brackets, networks of IPv6, names in other
    scripts. Behind `all://`, it takes the first two, and names as the DNS has them.

    Source: httpx 0.28 and httpx2 2.16, `_utils.py`.
    """
    scheme, _, place = entry.rpartition("://")
    try:
        if not scheme and place.count(":") > 1:
            return _ipv6_entry(place)
        parts = urlsplit(f"//{place}")
        name, port = parts.hostname or "", f":{parts.port}" if parts.port is not None else ""
        if not entry.isprintable():
            return ""
        if entry.isascii() and "xn--" not in entry.lower():
            return entry
        name = name.lstrip("*.").encode("idna").decode()
        labels = name.encode().decode("idna").split(".")
    except ValueError:  # UnicodeError is one
        return ""
    return f"{scheme or 'all'}://{name}{port}" if all(map(_is_plain_label, labels)) else ""


def _is_plain_label(label: str) -> bool:
    """Tell whether a part of a name is of letters that every rule for names in other scripts takes."""
    return (
        bool(label)
        and not (label.startswith("-") or label.endswith("-") or label[2:4] == "--")
        and label == unicodedata.normalize("NFKC", label).casefold()
        and all(letter in "-0123456789" or _is_plain_letter(letter) for letter in label)
    )


def _is_plain_letter(letter: str) -> bool:
    is_jamo = re.match("HANGUL (CHOSEONG|JUNGSEONG|JONGSEONG) ", unicodedata.name(letter, ""))  # half a syllable
    return (
        unicodedata.category(letter) in ("Ll", "Lo") and unicodedata.bidirectional(letter) == "L" and is_jamo is None
    )


def _ipv6_entry(entry: str) -> str:
    """Return an address or a network of IPv6, with or without brackets and port, in a form that httpx can read.

    Raises:
        ValueError: it is none.
    """
    address, port = entry, ""
    if bracketed := re.fullmatch(r"\[(.+)\](/\d+)?(:\d+)?", entry):
        address, port = bracketed[1] + (bracketed[2] or ""), bracketed[3] or ""
    if "/" not in address:
        host = str(IPv6Address(address))
        return f"all://[{host}]:{urlsplit('//_' + port).port}" if port else host
    network = ip_network(address, strict=False)
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return f"all://[{network.network_address}]/{network.prefixlen}"


def refuse_network(environ: Mapping[str, str]) -> None:
    """Refuse an address, proxies and certificates that can't be used.

    Raises:
        SettingsError: the text says which variable, and what to do.
    """
    _refuse_address(environ.get("GRADIO_SERVER_NAME", "").strip())
    _refuse_certificates(environ)
    for name in PROXIES:
        value = environ.get(name, "").strip()
        if not value:
            continue
        try:
            parts = urlsplit(value if "://" in value else f"http://{value}")
            is_address = bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:  # brackets or a port that can't be read
            is_address = False
        if not is_address:
            raise SettingsError("bad_proxy_url", name=name)  # without the value, which may hold a password
        scheme = parts.scheme.lower()
        if scheme not in PROXY_SCHEMES:
            raise SettingsError("bad_proxy_address", name=name, scheme=scheme, allowed=", ".join(PROXY_SCHEMES))
        if scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
            names = ", ".join(other for other in PROXIES if environ.get(other, "").strip().lower().startswith("socks"))
            raise SettingsError("socks_package", name=names, command=install_command("socksio"))


def _refuse_address(address: str) -> None:
    """Refuse to listen on what is neither a name nor an address of a machine, such as one with `http://` or a port."""
    if not address or re.fullmatch(r"[A-Za-z0-9_.-]+", address):
        return
    try:
        IPv6Address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise SettingsError("bad_address", value=repr(address)) from None


def _refuse_certificates(environ: Mapping[str, str]) -> None:
    """Refuse a file of certificates that can't be read: nothing could be asked over TLS, nor the page be served."""
    name = "SSL_CERT_FILE"
    file = environ.get(name, "").strip()
    if not file:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (OSError, ValueError):  # SSLError is an OSError
        raise SettingsError("bad_certificates", name=name, file=file) from None
