"""Is this model accessible from here? Checked before a download starts, in the order in which the answers make sense.

Access token, model and revision, licence, kind of model: whatever is wrong is reported with the one next step.
"""

import json
import time
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelInfo, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from hfdemo.background import in_thread
from hfdemo.errors import ModelLoadError
from hfdemo.models.explain import explain_load_error, gated_error
from hfdemo.models.hub_private import constants
from hfdemo.models.integrity import named_weights, unnamed_gguf_error, weight_files
from hfdemo.models.saved_token import token_source
from hfdemo.models.source import HubModel
from hfdemo.models.tokens import ANSWERS_WITHIN_S, check_token
from hfdemo.settings import Platform

TRY_AGAIN_AFTER_S = 1.0
"""When it is busy, the Hub sometimes answers 401 to a request without a token for a public model."""

WRITES_TEXT = "text-generation"
"""The Hub's word for what a chat needs."""

HEADS_THAT_WRITE = ("ForCausalLM", "LMHeadModel", "WithLMHead", "ForConditionalGeneration", "GenerationDecoder")
"""How the class names of models that write text end."""


def ask_hub(source: HubModel, platform: Platform) -> ModelInfo:
    """Return what the Hub says about a model that may be downloaded from here.

    Raises:
        ModelLoadError: it may not; the text says why and what to do.
    """
    try:
        # Not every question can be given a time limit, nor can looking up a host name: so they have
        # a thread of their own.
        return in_thread(lambda: _ask(source, platform), "hub-question").result(ANSWERS_WITHIN_S)
    except (TimeoutError, json.JSONDecodeError):  # here nothing but the Hub's answers is read
        raise ModelLoadError("hub_unreachable_for", model=source.name, endpoint=constants.ENDPOINT) from None
    except Exception as error:
        raise explain_load_error(error, source, platform) from None


def read_config(source: HubModel) -> dict[str, Any]:
    """Download a model's config.json and return it; empty if it has none or it can't be read.

    Raises:
        HfHubHTTPError, OSError: see `explain.explain_load_error`.
    """
    try:
        path = hf_hub_download(source.repo_id, "config.json", revision=source.revision, token=source.token)
        return read_json(Path(path))
    except EntryNotFoundError:
        return {}


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is no file, or something else in it."""
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def check_kind(
    name: str, files: list[str], config: dict[str, Any], allow_pickle: bool, task: str = "", place: str = ""
) -> None:
    """Refuse a model that doesn't generate text or can't be loaded here.

    Args:
        name: the model's name.
        files: the names of the repository's or folder's files.
        config: its config.json; empty if it has none.
        allow_pickle: whether pickled weights may be loaded.
        task: what the Hub says it is for (`pipeline_tag`).
        place: how people name its folder, or the repository with its revision, before a file.

    Raises:
        ModelLoadError: the text says what it is instead.
    """
    ggufs = [file for file in files if file.lower().endswith(".gguf")]
    named = named_weights(config)
    if ggufs and not (config and weight_files(files, allow_pickle=True, named=named)):
        raise unnamed_gguf_error(place or name, ggufs)
    if not config:
        raise ModelLoadError("not_a_language_model", model=name)
    kind = str(config.get("model_type", ""))
    if task in ("", WRITES_TEXT) and _writes(config) and "auto_map" not in config:
        _refuse_unknown(name, kind)
    if not _known_to_write(kind, config):
        if "auto_map" in config and (_writes(config) or "AutoModelForCausalLM" in str(config["auto_map"])):
            raise ModelLoadError("needs_code", model=name)
        other = "" if task == WRITES_TEXT else task  # as the Hub has it of models that judge texts, too
        raise ModelLoadError("not_text_generation", model=name, task=other or _first_class(config) or kind or "?")
    if not allow_pickle and not weight_files(files, False, named) and weight_files(files, True):
        raise ModelLoadError("pickled", model=name)


def _ask(source: HubModel, platform: Platform) -> ModelInfo:
    if not source.public:
        check_token(platform)
    info = _model_info(source)
    if info.gated and not source.public and token_source(platform) is None:
        raise gated_error("gated_no_token", source, platform)
    _check_permission(source)
    return info


def _model_info(source: HubModel) -> ModelInfo:
    api = HfApi()
    options: dict[str, Any] = {"revision": source.revision, "files_metadata": True, "token": source.token}
    options["timeout"] = ANSWERS_WITHIN_S  # so that the thread ends, too
    try:
        return api.model_info(source.repo_id, **options)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        time.sleep(TRY_AGAIN_AFTER_S)
        return api.model_info(source.repo_id, **options)


def _check_permission(source: HubModel) -> None:
    """Ask whether the files may be read, without reading one; a mirror that doesn't know this request passes."""
    try:
        HfApi().auth_check(source.repo_id, token=source.token)
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status not in (404, 405, 501):
            raise


def _refuse_unknown(name: str, kind: str) -> None:
    """Refuse an architecture that transformers doesn't know by any name."""
    import transformers

    if not kind:
        raise ModelLoadError("not_a_language_model", model=name)
    if kind not in transformers.CONFIG_MAPPING:
        raise ModelLoadError("architecture_unknown", model=name, kind=kind, version=transformers.__version__)


def _known_to_write(kind: str, config: dict[str, Any]) -> bool:
    """Tell whether transformers has a class for this model that writes text, and the checkpoint is meant for it."""
    from hfdemo.compute.transformers_private import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
    )

    writer = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    # Of such a model, only the half that writes would be loaded, which then has nothing to read.
    with_encoder = {MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.get(kind)}
    with_encoder |= {MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES.get(kind)}
    return writer is not None and _writes(config) and not (with_encoder - {writer}).intersection(_classes(config))


def _writes(config: dict[str, Any]) -> bool:
    classes = _classes(config)
    return not classes or any(name.endswith(HEADS_THAT_WRITE) for name in classes)


def _first_class(config: dict[str, Any]) -> str:
    return next(iter(_classes(config)), "")


def _classes(config: dict[str, Any]) -> list[str]:
    named = config.get("architectures") or []
    return [named] if isinstance(named, str) else [str(name) for name in named]
