"""Files of the Hugging Face hub: from its local cache without touching the network, else downloaded, else an error that
says how to do without."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mmsearch.encoders.specs import CONFIG_NAME, demo_folder
from mmsearch.errors import EncoderError

__all__ = ["hub_file", "hub_file_if_any", "hub_folder"]

# One try, briefly: the hub's own retries keep a person without a network waiting for 23 s before the first word.
_METADATA_TIMEOUT_S = 8.0


def hub_file(repo: str, names: Sequence[str], *, announce: Callable[[str], None]) -> Path:
    """The first of the files of a repository that exists, downloaded where the cache has none of them.

    names: equivalents, preferred first. announce: gets a line before a download.
    Raises EncoderError where none can be had.
    """
    found = hub_file_if_any(repo, names, announce=announce)
    if found is None:
        raise _unavailable(repo, names, f"the repository {repo} has no such file")
    return found


def hub_file_if_any(repo: str, names: Sequence[str], *, announce: Callable[[str], None]) -> Path | None:
    """As `hub_file`; None where the repository has no such file."""
    # Imported late: only models of the hub need it.
    import huggingface_hub

    for name in names:
        cached = huggingface_hub.try_to_load_from_cache(repo, name)
        if isinstance(cached, str):
            return Path(cached)
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise _unavailable(repo, names, "HF_HUB_OFFLINE is set, so that nothing is downloaded")
    for name in names:
        try:
            size = _size(repo, name)
            if size is None:
                continue
            announce(_announcement(repo, name, size))
            return Path(huggingface_hub.hf_hub_download(repo, name))
        except Exception as error:  # the hub's client, its HTTP client and the disk raise trees of their own
            raise _unavailable(repo, names, _reason(repo, error)) from error
    return None


def hub_folder(
    repo: str,
    *,
    is_wanted: Callable[[str], bool],
    is_complete: Callable[[Path], bool],
    check_names: Callable[[Iterable[str]], None],
    check_settings: Callable[[Path], None],
    advice: str,
    announce: Callable[[str], None],
) -> Path:
    """The folder of the cache that holds a repository's files; without touching the network where it is complete.

    is_wanted: whether a file, by its name, is downloaded where it has to be. is_complete: whether what the cache holds
    does. check_names, check_settings: raise EncoderError for what is refused: by the names of all files, before any is
    downloaded; and by the folder, when all but the tensors are there. advice: what to do without a network.
    announce: gets a line before the download.
    Raises EncoderError where the files cannot be had.
    """
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(repo, "config.json")
    if not isinstance(cached, str):
        cached = huggingface_hub.try_to_load_from_cache(repo, "modules.json")
    if isinstance(cached, str) and is_complete(Path(cached).parent):
        return Path(cached).parent
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise _cannot_get(repo, "HF_HUB_OFFLINE is set, so that nothing is downloaded", advice)
    try:
        about = huggingface_hub.HfApi().model_info(repo, files_metadata=True, timeout=_METADATA_TIMEOUT_S)
        files = {file.rfilename: file.size or 0 for file in about.siblings or ()}
        check_names(files)
        # The tensors last: where they are there, all is.
        names = sorted(filter(is_wanted, files), key=lambda name: (name.endswith(".safetensors"), name))
        announce(_announcement(repo, f"{len(names):,} files", sum(files[name] for name in names)))
        folder: Path | None = None
        for name in names:
            if name.endswith(".safetensors") and folder is not None:
                check_settings(folder)
            path = Path(huggingface_hub.hf_hub_download(repo, name))
            for _ in name.split("/"):
                path = path.parent
            if folder is not None and path != folder:
                raise EncoderError(f"{repo} was changed on the hub while it was downloaded: run the command again")
            folder = path
    except EncoderError:
        raise
    except Exception as error:  # the hub's client, its HTTP client and the disk raise trees of their own
        raise _cannot_get(repo, _reason(repo, error), advice) from error
    if folder is None:
        raise _cannot_get(repo, "it holds no file of a model", advice)
    return folder


def _size(repo: str, name: str) -> int | None:
    """Bytes of a file, 0 where the hub does not say, None where there is no such file."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    try:
        metadata = huggingface_hub.get_hf_file_metadata(
            huggingface_hub.hf_hub_url(repo, name), timeout=_METADATA_TIMEOUT_S
        )
    except EntryNotFoundError:
        return None
    return metadata.size or 0


def _announcement(repo: str, name: str, size: int) -> str:
    from huggingface_hub import constants

    amount = f" ({size / 1e6:,.0f} MB)" if size >= 1_000_000 else ""
    return f"downloading {name}{amount} from {constants.ENDPOINT}/{repo} to {constants.HF_HUB_CACHE}"


def _reason(repo: str, error: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return f"access to {repo} is granted on its page to who is logged in (hf auth login)"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub has no public repository {repo}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _unavailable(repo: str, names: Sequence[str], reason: str) -> EncoderError:
    demo = "--model demo (bundled), or " if (demo_folder() / CONFIG_NAME).is_file() else ""
    advice = (
        f"Without a network: {demo}--model local-dir:/path/with/{CONFIG_NAME}. To make such a folder, "
        f'elsewhere: hf download {repo} --include "*.json" "*.safetensors" --local-dir my-model'
    )
    return _cannot_get(repo, reason, advice, f"{' or '.join(names)} of ")


def _cannot_get(repo: str, reason: str, advice: str, what: str = "") -> EncoderError:
    from huggingface_hub import constants

    return EncoderError(
        f"cannot get {what}{constants.ENDPOINT}/{repo}: {reason}. It is not in the cache "
        f"{constants.HF_HUB_CACHE} either (HF_HOME moves that; HF_HUB_OFFLINE=1 forbids downloads). {advice}"
    )
