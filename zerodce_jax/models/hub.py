"""Download and upload of networks on the Hugging Face hub, through its official client."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from zerodce_jax.errors import InputError, UsageError, one_line, require

SCHEME = "hf://"
NETWORK_FILE = "model.safetensors"
"""Name of the network's file, if an address does not give it."""
_REPO = r"[\w.-]+/[\w.-]+"
_ADDRESS = re.compile(
    rf"hf://(?P<repo>{_REPO})(@(?P<revision>[\w.-]+))?(/(?P<file>.+\.safetensors))?"
)


def download(address: str) -> Path:
    """Download a network into the client's cache, and return the file there.

    The address is ``hf://OWNER/NAME[@REVISION][/FILE.safetensors]``; by default the main branch and
    ``model.safetensors``. Without a connection, or with ``HF_HUB_OFFLINE=1``, the file is that of
    an earlier download.

    Raises:
        InputError: The file does not exist, access is denied, or the hub cannot be reached.
        UsageError: The address is malformed, or the client is not installed.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise UsageError(f"{address}: must be hf://OWNER/NAME[@REVISION][/FILE.safetensors]")
    file = parts["file"] or NETWORK_FILE
    with _one_line_errors(address, file):
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(parts["repo"], file, revision=parts["revision"]))


def upload(
    files: Mapping[str, bytes], repo: str, *, private: bool, revision: str | None, message: str
) -> tuple[str, tuple[str, ...]]:
    """Upload files to a model repository in one commit.

    Args:
        files: Contents by name. An existing ``README.md`` is kept.
        repo: ``OWNER/NAME`` of the repository, which is created if it does not exist.
        private: Whether to make a new repository private.
        revision: Branch to commit to, which is created if it does not exist; None is the main one.
        message: Commit message.

    Returns:
        The address of the commit, and the names of existing files that were kept.

    Raises:
        InputError: The hub refuses, or cannot be reached.
        UsageError: The name is malformed, or the client is not installed.
    """
    if not re.fullmatch(_REPO, repo):
        raise UsageError(f"{repo}: must be OWNER/NAME")
    with _one_line_errors(f"{SCHEME}{repo}", NETWORK_FILE):
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        has_card = "README.md" in files and api.file_exists(repo, "README.md", revision=revision)
        kept = ("README.md",) if has_card else ()
        added = [CommitOperationAdd(name, files[name]) for name in files if name not in kept]
        commit = api.create_commit(repo, added, commit_message=message, revision=revision)
    return str(commit.commit_url), kept


@contextmanager
def _one_line_errors(address: str, file: str) -> Iterator[None]:
    """Require the client, and turn its errors into errors with a message of one line."""
    require("the hub", "hub", "huggingface_hub")
    from huggingface_hub import errors
    from huggingface_hub.utils.logging import get_logger

    # The first matching class counts, because some are subclasses of later ones.
    causes = {
        errors.LocalEntryNotFoundError: f"cannot reach the hub, and {file} is not in the cache",
        errors.GatedRepoError: "gated; request access on its page, then run hf auth login",
        errors.RepositoryNotFoundError: "does not exist, or is private (run hf auth login)",
        errors.RevisionNotFoundError: "this revision does not exist",
        errors.EntryNotFoundError: f"does not contain {file}",
    }
    # The client warns of each failed attempt, although it raises the last failure as an error. The
    # import above sets the level of its logger, so this must come later.
    logger = get_logger()
    silenced = logger.getEffectiveLevel() == logging.WARNING
    if silenced:
        logger.setLevel(logging.ERROR)
    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(f"{address}: {one_line(error)}") from error
    except tuple(causes) as error:
        cause = next(cause for kind, cause in causes.items() if isinstance(error, kind))
        raise InputError(f"{address}: {cause}") from error
    # HTTPError, of the client's HTTP library, is not an OSError. Users without a home folder get a
    # RuntimeError.
    except (errors.HTTPError, OSError, RuntimeError, ValueError) as error:  # pyright: ignore[reportPrivateImportUsage]
        status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
        cause = "access denied; run hf auth login" if status in (401, 403) else one_line(error)
        raise InputError(f"{address}: {cause}") from error
    finally:
        if silenced:
            logger.setLevel(logging.WARNING)
