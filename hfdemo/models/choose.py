"""Which model: the one the host named, or the default for this machine, or the embedded demo model."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from huggingface_hub import HfApi, is_offline_mode

from hfdemo.background import in_thread
from hfdemo.errors import HfdemoError, ModelLoadError
from hfdemo.models.disk import is_cached
from hfdemo.models.headers import shown_path
from hfdemo.models.hub_private import constants
from hfdemo.models.source import EmbeddedModel, HubModel, LocalModel, ModelSource, is_hub_name
from hfdemo.variables import COPIED_ALONG

__all__ = [
    "DEFAULT_ON_CPU",
    "DEFAULT_ON_GPU",
    "HUB_TIMEOUT_S",
    "EmbeddedModel",
    "HubModel",
    "LocalModel",
    "ModelSource",
    "choose_model",
    "hub_problem",
    "parse_model",
]

DEFAULT_ON_CPU = "Qwen/Qwen3-0.6B"
"""Small enough for two cores; Apache-2.0, not gated, speaks Korean."""
DEFAULT_ON_GPU = "kakaocorp/kanana-1.5-2.1b-instruct-2505"
"""4.2 GB in 16 bit, so that it fits a T4; Apache-2.0, not gated, made for Korean and English."""

HUB_TIMEOUT_S = 4.0
"""How long the Hub may take to answer before it counts as unreachable."""

HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")

NOT_MODELS = ("spaces", "datasets", "collections", "papers", "docs", "blog", "models")
"""How addresses of the Hub begin that belong to no model."""

_OLLAMA = re.compile(r"(?:(?:https://)?(?:hf\.co|huggingface\.co)/)?(?P<repository>[\w.-]+/[\w.-]+):(?P<tag>[\w.-]+)")
"""How llama.cpp and Ollama name a GGUF file, by its bits: `hf.co/org/name:Q4_K_M`, as on the model's page."""

BRANCHES = ("latest", "main")
"""What stands there for the newest files, where no bits are named."""

_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]")


def choose_model(named: str | None, has_gpu: Callable[[], bool]) -> HubModel | LocalModel | EmbeddedModel:
    """Return the model to load.

    Args:
        named: what the host asked for (`HFDEMO_MODEL`), or None.
        has_gpu: tells whether torch can use a GPU; called only if the answer matters, because torch loads slowly.

    Raises:
        ModelLoadError: no model can have this name, or it names a file that doesn't exist.
    """
    if named:
        return parse_model(named)
    problem = hub_problem()
    cached = [repo_id for repo_id in (DEFAULT_ON_CPU, DEFAULT_ON_GPU) if is_cached(repo_id)]
    if problem is None or cached:
        default = DEFAULT_ON_GPU if has_gpu() else DEFAULT_ON_CPU
        if problem is None or default in cached:
            return HubModel(default, public=True)
    return EmbeddedModel(reason=problem)


def parse_model(named: str) -> HubModel | LocalModel:
    """Read a model's name: a local folder or GGUF file, `org/name`, `org/name@revision`, `org/name/file.gguf`.

    The address of a model's page is taken for its name; quotes around a name are dropped.

    Raises:
        ModelLoadError: it is none of these.
    """
    named = named.strip(COPIED_ALONG).removeprefix("hf://")  # as the Hub's own tools write its addresses
    if not named:
        raise ModelLoadError("no_model_name")
    path = Path(os.path.expanduser(named))
    if os.path.isdir(path):  # unlike Path's own methods, these raise nothing for a name too long or out of reach
        return LocalModel(path)
    is_file = os.path.isfile(path)
    if is_file and path.suffix.lower() == ".gguf":
        return LocalModel(path.parent, gguf_file=path.name)
    if named.startswith("file://"):
        return parse_model(url2pathname(named.removeprefix("file://").removeprefix("localhost")))
    address = _split_address(named)
    repo_id, revision, gguf_file = address or _split_hub_name(named)
    if is_hub_name(repo_id) and not is_file:
        return HubModel(repo_id, revision, gguf_file)
    if match := _OLLAMA.fullmatch(named):
        is_gguf = match["tag"] not in BRANCHES or match["repository"].lower().endswith("gguf")
        advice = "name_the_gguf" if is_gguf else "name_without_tag"
        raise ModelLoadError("bad_model_name", advice, model=named, repository=match["repository"])
    if not is_file and (address or not _looks_like_path(named)):
        raise ModelLoadError("bad_model_name", model=named)
    shown = named if "\\" in named or _WINDOWS_PATH.match(named) else shown_path(path)
    raise ModelLoadError("no_such_model_path", "name_the_folder" if is_file else None, model=shown)


def hub_problem(timeout_s: float = HUB_TIMEOUT_S) -> HfdemoError | None:
    """Return why a public model can't be downloaded from the Hub now, or None if it can.

    The question runs in a thread of its own, because looking up a host name can't be given a time limit.
    """
    if is_offline_mode():
        return ModelLoadError("hub_offline_mode")
    answer = in_thread(lambda: HfApi().model_info(DEFAULT_ON_CPU, timeout=timeout_s, token=False), "hub-probe")
    try:
        error = answer.exception(timeout=timeout_s)  # whatever it is, the Hub can't be used
    except TimeoutError:
        return ModelLoadError("hub_no_answer", seconds=f"{timeout_s:.0f}", endpoint=constants.ENDPOINT)
    if error is None:
        return None
    return ModelLoadError("hub_unreachable", endpoint=constants.ENDPOINT, problem=type(error).__name__)


def _split_hub_name(named: str) -> tuple[str, str | None, str | None]:
    """Split `org/name[@revision][/folder/file.gguf]` into repository, revision and file."""
    gguf_file = None
    if named.lower().endswith(".gguf"):
        organisation, _, rest = named.partition("/")
        name, _, gguf_file = rest.partition("/")
        if not gguf_file:  # a file in a folder of this machine: repositories are not called so
            return "", None, None
        named = f"{organisation}/{name}"
    repo_id, _, revision = named.partition("@")
    return repo_id, revision or None, gguf_file or None


def _split_address(named: str) -> tuple[str, str | None, str | None] | None:
    """Split the address of a model's page, or of a file in it; None if it is no address of the Hub."""
    try:
        parts = urlsplit(named if "://" in named else f"https://{named}")
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or parts.netloc.lower() not in (*HUB_HOSTS, _mirror()):
        return None
    organisation, name, section, revision, *file = [unquote(part) for part in parts.path.strip("/").split("/")] + [
        ""
    ] * 4
    if organisation in NOT_MODELS:
        return "", None, None
    if section not in ("tree", "blob", "resolve", "raw") or revision == "main":
        revision = ""
    path = "/".join(part for part in file if part)
    gguf_file = path if path.lower().endswith(".gguf") else None
    return f"{organisation}/{name.removesuffix('.git')}", revision or None, gguf_file


def _mirror() -> str:
    """Return the host of the Hub that the libraries are set to."""
    return str(urlsplit(str(constants.ENDPOINT)).netloc.lower())


def _looks_like_path(named: str) -> bool:
    if "://" in named:
        return False
    return (
        named.startswith((".", "/", "~"))
        or named.lower().endswith(".gguf")
        or "\\" in named
        or bool(_WINDOWS_PATH.match(named))
        or named.count("/") > 1
    )
