"""The host's settings, read once from the environment."""

import difflib
import ipaddress
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args
from urllib.parse import urlsplit

from hfdemo.errors import SettingsError
from hfdemo.variables import COPIED_ALONG, NUMBER_VARIABLES, ROOT_PATH, refuse_network
from hfdemo.words import LANGUAGES, Language, language_of_terminal, say

Platform = Literal["local", "colab", "space", "zerogpu"]
"""Where this runs: on the host's own machine, in a Google Colab notebook, on a Space, or on a Space with ZeroGPU."""

Quantize = Literal["auto", "off", "8bit", "4bit"]
"""Whether weights are stored in fewer bits: only if the model doesn't fit otherwise, never, or always."""

Scheduling = Literal["auto", "single", "batched"]
"""Whether replies are generated one at a time or several at once; `auto` batches if others can reach the page."""

Offered = Literal["auto", "on", "off"]
"""Whether something is there: `auto` is on a page that only this machine can reach."""

Credit = Literal["host", "visitor"]
"""Whose credit pays for the replies of an inference provider: that of `HF_TOKEN`, or each visitor's own."""

CREDIT_SCOPE = "inference-api"
"""What a visitor allows a Space whose replies their own credit pays for. Source: the Hub's documentation of OAuth."""

CpuWeights = Literal["auto", "bf16", "int8", "int4"]
"""How many bits per weight a CPU reads for each token: as loaded, 8 or 4; `auto` is 4 where that loses nothing."""

SIGN_IN_NAME = "hfdemo"
"""The user name that goes with `HFDEMO_PASSWORD`."""

CONTEXT_RANGE = (64, 10_000_000)
"""How many tokens a conversation may be allowed to have."""

MIN_API_KEY_CHARS = 16
"""How long a key of the API must be, so that nobody guesses it."""

HERE_ONLY = ("", "localhost", "127.0.0.1", "::1", "[::1]")
"""Values of `GRADIO_SERVER_NAME` with which only this machine reaches the page."""

ANYWHERE = ("0.0.0.0", "::", "[::]")
"""Values of `GRADIO_SERVER_NAME` with which the page listens on every address of this machine."""

_WITH_PROVIDER = re.compile(
    r"[\w.-]+/[\w.-]+(?<![Gg][Gg][Uu][Ff]):(?!(?:latest|main|b?f16|f32|i?q\d[a-z0-9]*)$)[a-z][a-z0-9-]*"
)
"""A model at a provider; what other tools write behind a colon, tags and how weights are stored, is none."""

PREFIX = "HFDEMO_"
"""What the names of hfdemo's own variables begin with."""

OLD_NAMES = {"HFDEMO_SCHEDULING": "HFDEMO_ENGINE"}
"""What variables were called before; the old names still work."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The host's settings. Every field can be set by an environment variable named in `from_env`."""

    model: str | None = None
    """`HFDEMO_MODEL`: a Hub id, `id@revision`, a local folder or a GGUF file; None lets hfdemo choose."""

    endpoint: str | None = None
    """`HFDEMO_ENDPOINT`: the address of a server that runs the model; None runs it here, unless the model's name says
    otherwise."""

    endpoint_key: str | None = field(default=None, repr=False)
    """`HFDEMO_ENDPOINT_KEY`: what that server is shown as a bearer token."""

    models: tuple[str, ...] = ()
    """`HFDEMO_MODELS`: the models that the page offers, separated by commas or white space."""

    quantize: Quantize = "auto"
    """`HFDEMO_QUANTIZE`: whether to store the weights in 8 or 4 bits."""

    cpu_weights: CpuWeights = "auto"
    """`HFDEMO_CPU_WEIGHTS`: how many bits per weight a CPU reads for each generated token."""

    scheduling: Scheduling = "auto"
    """`HFDEMO_SCHEDULING`: whether several replies are generated at once."""

    prefix_cache_mb: int = 512
    """`HFDEMO_PREFIX_CACHE_MB`: how much memory caches the prompts already read, so that they aren't read again."""

    packed_cache_gb: int = 10
    """`HFDEMO_PACKED_CACHE_GB`: how much of the disk caches packed weights, so that a model's next start doesn't pack
    them again; 0 is nothing."""

    context: int | None = None
    """`HFDEMO_CONTEXT`: how many tokens a conversation may have; None is as many as the model's context holds."""

    chat_template: str | None = None
    """`HFDEMO_CHAT_TEMPLATE`: one of the model's named templates, a file, or `none` for a plain prompt; None is the
    model's own."""

    allow_pickle: bool = False
    """`HFDEMO_ALLOW_PICKLE`: whether to load pickled weights, which can run their author's code."""

    idle_unload_s: int = 0
    """`HFDEMO_IDLE_UNLOAD_S`: after how many idle seconds the model is unloaded; 0 is never."""

    system_prompt: str = ""
    """`HFDEMO_SYSTEM_PROMPT`: the system prompt a new chat starts with."""

    time_limit_s: int = 300
    """`HFDEMO_TIME_LIMIT_S`: how long one reply may take, in seconds."""

    unread_s: int = 60
    """`HFDEMO_UNREAD_S`: how long a reply goes on after its page lost the connection, and is kept for it; 0 is not at
    all."""

    max_waiting: int = 32
    """`HFDEMO_MAX_WAITING`: how many messages may be answered or queued at one time."""

    messages_per_minute: int = 20
    """`HFDEMO_MESSAGES_PER_MINUTE`: how many messages a visitor may send a minute if others can reach the page,
    ten times as many from one address, and fifty times as many all together; 0 is without a limit."""

    password: str | None = field(default=None, repr=False)
    """`HFDEMO_PASSWORD`: the page's password, for the user `SIGN_IN_NAME`; None lets everybody in."""

    users: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """`HFDEMO_USERS`: more users, as pairs `name:password`, separated by commas."""

    api_keys: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """`HFDEMO_API_KEYS`: who may use the OpenAI-compatible API, as pairs `name:key`, separated by commas; nobody may
    without a key."""
    allowed_users: tuple[str, ...] = ()
    """`HFDEMO_ALLOWED_USERS`: who may sign in to a Space with a Hugging Face account, users and organisations."""

    credit: Credit = "host"
    """`HFDEMO_CREDIT`: whose credit pays for the replies of an inference provider."""

    allowed_hosts: tuple[str, ...] = ()
    """`HFDEMO_ALLOWED_HOSTS`: more host names of the page; one that begins with a dot stands for all below it, and `*`
    for all. What the page listens as and a Space's own name are added."""

    trusted_proxies: tuple[str, ...] = ()
    """`HFDEMO_TRUSTED_PROXIES`: addresses or networks of proxies whose `X-Forwarded-*` headers count."""

    max_request_mb: int = 4
    """`HFDEMO_MAX_REQUEST_MB`: how large a message may be, with the conversation that the page sends with it."""

    title: str = "hfdemo"
    """`HFDEMO_TITLE`: the page's name, in the tab of the browser and as an installed app."""

    language: Language = "en"
    """`HFDEMO_LANGUAGE`: the language of what is said in the terminal; the system's if nobody says."""
    metrics: Offered = "auto"
    """`HFDEMO_METRICS`: whether `/metrics` has numbers for Prometheus."""

    platform: Platform = "local"
    """Where this runs, known from the variables that Colab and Spaces set."""

    private: bool = True
    """Whether only this machine can reach the page: it listens on the loopback address, and has neither a share link
    nor a proxy before it; or the host says so with `HFDEMO_PRIVATE`, of a container whose port is published to the
    loopback address."""

    @property
    def is_remote(self) -> bool:
        """Whether the model runs elsewhere: on a server, or at a provider, as named in `org/name:provider`."""
        return bool(self.endpoint or (self.model and _WITH_PROVIDER.fullmatch(self.model)))

    @property
    def visitors_pay(self) -> bool:
        """Whether each visitor's own credit pays for their replies."""
        return self.credit == "visitor"

    @property
    def signs_in_with_hub(self) -> bool:
        """Whether visitors sign in with their Hugging Face accounts."""
        return self.visitors_pay or bool(self.allowed_users)

    @property
    def batched(self) -> bool:
        """Whether several replies are generated at once."""
        if self.platform == "zerogpu":
            return False  # there each reply has a GPU to itself
        return self.scheduling == "batched" or (self.scheduling == "auto" and not self.private)

    @property
    def has_metrics(self) -> bool:
        """Whether there are numbers for Prometheus."""
        return self.metrics == "on" or (self.metrics == "auto" and self.private)

    @property
    def rate_per_minute(self) -> int:
        """How many messages a visitor may send a minute; 0 is without a limit."""
        return 0 if self.private else self.messages_per_minute

    @property
    def max_of_one_address(self) -> int:
        """How many messages from one address may be in progress or waiting: half, where others come from elsewhere."""
        return self.max_waiting if self.private else -(-self.max_waiting // 2)

    @property
    def accounts(self) -> dict[str, str]:
        """Who may sign in, with their passwords; empty if everybody is let in."""
        return ({SIGN_IN_NAME: self.password} if self.password else {}) | dict(self.users)

    @property
    def max_request_bytes(self) -> int:
        """How large the body of a message may be."""
        return self.max_request_mb * 1024 * 1024

    @property
    def prefix_cache_bytes(self) -> int:
        """How much memory caches the prompts already read; on ZeroGPU, none outlives its reply."""
        return 0 if self.platform == "zerogpu" else self.prefix_cache_mb * 1024 * 1024

    @property
    def packed_cache_bytes(self) -> int:
        """How much of the disk caches packed weights."""
        return self.packed_cache_gb * 10**9


def from_env(environ: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables.

    Raises:
        SettingsError: a value is outside its range.
    """
    refuse_variables(environ)
    defaults = Settings()
    settings = _read(environ, defaults)
    if settings.visitors_pay and (settings.endpoint or not settings.is_remote):
        raise SettingsError("credit_without_provider")
    return settings


def refuse_variables(environ: Mapping[str, str]) -> None:
    """Refuse values of variables that libraries read, and with which they fail.

    Raises:
        SettingsError: the text says which variable, and what to do.
    """
    refuse_network(environ)
    for name, (low, high) in NUMBER_VARIABLES.items():
        _whole_number(environ, name, low, low, high)


def _read(environ: Mapping[str, str], defaults: Settings) -> Settings:
    listed = (word.strip(COPIED_ALONG) for word in _words(environ, "HFDEMO_MODELS"))
    models = tuple(dict.fromkeys(name for name in listed if name))
    return Settings(
        model=environ.get("HFDEMO_MODEL", "").strip(COPIED_ALONG) or next(iter(models), None),
        endpoint=_address(environ, "HFDEMO_ENDPOINT"),
        endpoint_key=_header(environ, "HFDEMO_ENDPOINT_KEY"),
        models=models,
        quantize=_one_of(environ, "HFDEMO_QUANTIZE", defaults.quantize, get_args(Quantize)),
        cpu_weights=_one_of(environ, "HFDEMO_CPU_WEIGHTS", defaults.cpu_weights, get_args(CpuWeights)),
        scheduling=_one_of(environ, _renamed(environ, "HFDEMO_SCHEDULING"), defaults.scheduling, get_args(Scheduling)),
        prefix_cache_mb=_whole_number(
            environ, "HFDEMO_PREFIX_CACHE_MB", defaults.prefix_cache_mb, low=0, high=1_000_000
        ),
        packed_cache_gb=_whole_number(
            environ, "HFDEMO_PACKED_CACHE_GB", defaults.packed_cache_gb, low=0, high=100_000
        ),
        context=_whole_number(environ, "HFDEMO_CONTEXT", 0, *CONTEXT_RANGE) or None,
        chat_template=environ.get("HFDEMO_CHAT_TEMPLATE", "").strip() or None,
        allow_pickle=_one_of(environ, "HFDEMO_ALLOW_PICKLE", "0", ("0", "1")) == "1",
        idle_unload_s=_whole_number(environ, "HFDEMO_IDLE_UNLOAD_S", defaults.idle_unload_s, low=0, high=604_800),
        system_prompt=_unquoted(environ.get("HFDEMO_SYSTEM_PROMPT", defaults.system_prompt)),
        time_limit_s=_whole_number(environ, "HFDEMO_TIME_LIMIT_S", defaults.time_limit_s, low=1, high=86_400),
        unread_s=_whole_number(environ, "HFDEMO_UNREAD_S", defaults.unread_s, low=0, high=3600),
        max_waiting=_whole_number(environ, "HFDEMO_MAX_WAITING", defaults.max_waiting, low=1, high=1000),
        messages_per_minute=_whole_number(
            environ, "HFDEMO_MESSAGES_PER_MINUTE", defaults.messages_per_minute, low=0, high=100_000
        ),
        password=read_password(environ),
        users=_users(environ),
        api_keys=_api_keys(environ),
        allowed_users=_allowed_users(environ),
        credit=_credit(environ, defaults.credit),
        allowed_hosts=_hosts(environ),
        trusted_proxies=_proxies(environ),
        max_request_mb=_whole_number(environ, "HFDEMO_MAX_REQUEST_MB", defaults.max_request_mb, low=1, high=1024),
        title=_unquoted(environ.get("HFDEMO_TITLE", "")).strip() or defaults.title,
        language=_language(environ, "HFDEMO_LANGUAGE") or language_of_terminal(environ),
        metrics=_one_of(environ, "HFDEMO_METRICS", defaults.metrics, get_args(Offered)),
        platform=(platform := find_platform(environ)),
        private=platform == "local" and _is_private(environ),
    )


def notes_on_variables(environ: Mapping[str, str], language: Language) -> list[str]:
    """Return a sentence for each variable that has an old name, or is named like a setting and is none."""
    empty = _Asked()
    from_env(empty)
    known = {name.removeprefix(PREFIX): name for name in empty.names if name.startswith(PREFIX)}
    new_names = {old: new for new, old in OLD_NAMES.items()}
    found = []
    for name in environ:
        if name in new_names:
            if environ[name].strip():
                found.append(say("settings.renamed", language, old=name, new=new_names[name]))
        elif name.upper().startswith(PREFIX) and name not in known.values():
            near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, 1)
            found.append(
                say("settings.misspelt", language, name=name, near=known[near[0]])
                if near
                else say("settings.unknown", language, name=name)
            )
    return found


class _Asked(Mapping[str, str]):
    """An empty environment that keeps the names it was asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getitem__(self, name: str) -> str:
        self.names.append(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def find_platform(environ: Mapping[str, str]) -> Platform:
    """Return where this runs, from the variables that Colab and Spaces set for their programs.

    Source: the Spaces documentation on environment variables; `huggingface_hub.utils._runtime`.
    """
    if environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true"):
        return "zerogpu"
    if environ.get("SPACE_ID") or environ.get("SYSTEM") == "spaces":
        return "space"
    return "colab" if environ.get("COLAB_RELEASE_TAG") or environ.get("COLAB_JUPYTER_IP") else "local"


def _is_private(environ: Mapping[str, str]) -> bool:
    said = _one_of(environ, "HFDEMO_PRIVATE", "", ("0", "1"))
    if said == "0" or is_shared(environ):
        return False
    return said == "1" or (listens_on(environ) in HERE_ONLY and not _is_behind_proxy(environ))


def _is_behind_proxy(environ: Mapping[str, str]) -> bool:
    """Tell whether the host names a proxy, a path or a name for it: others reach the page through it."""
    return bool(
        _proxies(environ) or _words(environ, "HFDEMO_ALLOWED_HOSTS") or environ.get(ROOT_PATH, "").strip().strip("/")
    )


def listens_on(environ: Mapping[str, str]) -> str:
    """Return the address or name that the page listens on, as in `GRADIO_SERVER_NAME`; empty is this machine only."""
    return environ.get("GRADIO_SERVER_NAME", "").strip()


def asked_port(environ: Mapping[str, str]) -> int:
    """Return the port at which the page is to be served; 0 if none is named."""
    return int(environ.get("GRADIO_SERVER_PORT") or 0)


def is_shared(environ: Mapping[str, str]) -> bool:
    """Tell whether the host asks for a share link, as Gradio reads it."""
    return environ.get("GRADIO_SHARE", "").lower() == "true"


def read_password(environ: Mapping[str, str]) -> str | None:
    """Return the page's password; None if it has none."""
    return _unquoted(environ.get("HFDEMO_PASSWORD", "")).strip() or None


def _users(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    pairs = _pairs(environ, "HFDEMO_USERS")
    if not all(name and password for name, password in pairs) or len(dict(pairs)) < len(pairs):
        raise SettingsError("bad_users")  # without the value, which holds passwords
    return pairs


def _api_keys(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    pairs = _pairs(environ, "HFDEMO_API_KEYS")
    names, keys = ({pair[part] for pair in pairs} for part in (0, 1))
    if not all(names) or not all(map(_is_api_key, keys)) or not len(names) == len(keys) == len(pairs):
        raise SettingsError("bad_api_keys", chars=MIN_API_KEY_CHARS)
    return pairs


def _is_api_key(key: str) -> bool:
    return len(key) >= MIN_API_KEY_CHARS and key.isascii() and key.isprintable() and " " not in key


def _pairs(environ: Mapping[str, str], name: str) -> tuple[tuple[str, str], ...]:
    written = _unquoted(environ.get(name, "")).split(",")
    pairs = [_unquoted(pair).partition(":") for pair in written if pair.strip()]
    return tuple((first.strip(), second.strip()) for first, _, second in pairs)


def _unquoted(text: str) -> str:
    """Return a text without the one pair of quotes around all of it, which Docker takes from a file as they are."""
    written = text.strip()
    quote = written[:1]
    is_quoted = quote in ("'", '"') and written.endswith(quote) and written.count(quote) == 2
    return written[1:-1] if is_quoted else text


def _allowed_users(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return who may sign in with a Hugging Face account.

    Raises:
        SettingsError: nobody can: the page isn't on a Space with OAuth, and must not be open instead.
    """
    named = _words(environ, "HFDEMO_ALLOWED_USERS")
    if named and not (environ.get("SPACE_ID") and environ.get("OAUTH_CLIENT_ID")):
        raise SettingsError("no_oauth")
    return tuple(dict.fromkeys(named))


def _credit(environ: Mapping[str, str], default: Credit) -> Credit:
    """Return whose credit pays.

    Raises:
        SettingsError: the visitors' can't: they don't allow it where they sign in.
    """
    credit: Credit = _one_of(environ, "HFDEMO_CREDIT", default, get_args(Credit))
    allowed = environ.get("SPACE_ID") and environ.get("OAUTH_CLIENT_ID")
    if credit == "visitor" and not (allowed and CREDIT_SCOPE in _words(environ, "OAUTH_SCOPES")):
        raise SettingsError("no_oauth_credit", scope=CREDIT_SCOPE)
    return credit


def _hosts(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the host names, what a Space is called, and the one name that the page listens as, if it has one."""
    named = [*map(_host, _words(environ, "HFDEMO_ALLOWED_HOSTS")), *_words(environ, "SPACE_HOST")]
    listens_as = listens_on(environ)
    if listens_as not in (*HERE_ONLY, *ANYWHERE):
        named.append(listens_as)
    return tuple(dict.fromkeys(name.lower() for name in named))


def _host(written: str) -> str:
    """Return the name of a host that is written as an address, with a port, or as `*.` and the end of a name."""
    if written == "*":
        return written
    name = written.rpartition("://")[2].partition("/")[0].removeprefix("*")
    has_port = name.startswith("[") or name.count(":") == 1
    return re.sub(r":\d*$", "", name) if has_port else name


def _proxies(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the proxies that the host names, also by uvicorn's own variable, and the tunnel of a share link."""
    variables = ("HFDEMO_TRUSTED_PROXIES", "FORWARDED_ALLOW_IPS")
    named = [(name, value.replace("*", "0.0.0.0/0")) for name in variables for value in _words(environ, name)]
    if is_shared(environ):
        named.append(("GRADIO_SHARE", "127.0.0.1"))
    for name, value in named:
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise SettingsError("bad_proxy", name=name, value=value) from None
    return tuple(dict.fromkeys(value for _, value in named))


def _words(environ: Mapping[str, str], name: str) -> list[str]:
    return environ.get(name, "").replace(",", " ").split()


def _renamed(environ: Mapping[str, str], name: str) -> str:
    """Return the variable to read for a renamed setting: the old one if only that is set."""
    old = OLD_NAMES[name]
    return old if environ.get(old, "").strip() and not environ.get(name, "").strip() else name


T = TypeVar("T", bound=str)


def _one_of(environ: Mapping[str, str], name: str, default: T, allowed: tuple[T, ...]) -> T:
    value = environ.get(name, "").strip().lower()
    if not value:
        return default
    for choice in allowed:
        if choice == value:
            return choice
    raise SettingsError("bad_choice", name=name, value=value, allowed=", ".join(allowed))


def _language(environ: Mapping[str, str], name: str) -> Language | None:
    return _one_of(environ, name, LANGUAGES[0], LANGUAGES) if environ.get(name, "").strip() else None


def _whole_number(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    value = environ.get(name, "").strip()
    if not value:
        return default
    if not value.isdecimal() or len(value) > 9 or not low <= int(value) <= high:
        raise SettingsError("bad_setting", name=name, value=value, low=low, high=high)
    return int(value)


def _address(environ: Mapping[str, str], name: str) -> str | None:
    """Return the address of a server; one without `http://` or `https://` gets what is usual there."""
    visible = re.sub("[\u00ad\u200b-\u200f\u2060\ufeff]", "", environ.get(name, ""))  # pages hide these in links
    value = unicodedata.normalize("NFKC", visible).strip().strip("\"'<>").removeprefix("//")  # typed in full width
    if not value:
        return None
    try:
        parts = urlsplit(value if "://" in value else f"//{value}")
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")  # else no client finds it
    except ValueError:  # no port has that number
        host = None
    schemes = ("http", "https")
    is_odd = not value.isprintable() or re.search(r"\s", value)
    if not host or is_odd or parts.scheme not in ("", *schemes) or host in schemes:  # http:/host
        raise SettingsError("bad_endpoint", name=name, value=re.sub(r"[^/]*@|\?.*", "…", value))  # without secrets
    return value if parts.scheme else f"{'http' if _is_near(host) else 'https'}://{value}"


def _is_near(host: str) -> bool:
    """Tell whether a host is in this network, by its name: such servers seldom have a certificate."""
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan"))


def _header(environ: Mapping[str, str], name: str) -> str | None:
    """Return a secret that is sent in a header."""
    value = environ.get(name, "").strip(COPIED_ALONG)
    if not value.isascii() or not value.isprintable():
        raise SettingsError("bad_secret", name=name)
    return value or None
