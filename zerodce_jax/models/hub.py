"""Networks on the Hugging Face hub, through its own client: one file down, a commit up."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from zerodce_jax.errors import InputError, UsageError, one_line

SCHEME = "hf://"
NETWORK_FILE = "model.safetensors"
"""What a network is called where an address does not say it."""
_REPO = r"[\w.-]+/[\w.-]+"
_ADDRESS = re.compile(
    rf"hf://(?P<repo>{_REPO})(@(?P<revision>[\w.-]+))?(/(?P<file>.+\.safetensors))?"
)


def download(address: str) -> Path:
    """Fetch a network into the client's own cache, or find it there.

    Args:
        address: ``hf://OWNER/NAME``, with ``@REVISION`` and ``/FILE.safetensors`` behind it where
            they are not the main branch and ``model.safetensors``.

    Returns:
        The file in the cache. Without a connection, or with ``HF_HUB_OFFLINE=1``, what was fetched
        before.

    Raises:
        InputError: There is no such thing, or it cannot be reached or read.
        UsageError: The address is malformed, or the client is not installed.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise UsageError(f"{address}: should be hf://OWNER/NAME[@REVISION][/FILE.safetensors]")
    _require_client()
    from huggingface_hub import hf_hub_download

    file = parts["file"] or NETWORK_FILE
    with _one_line_errors(address, file):
        return Path(hf_hub_download(parts["repo"], file, revision=parts["revision"]))


def upload(
    files: Mapping[str, bytes], repo: str, *, private: bool, revision: str | None, message: str
) -> tuple[str, tuple[str, ...]]:
    """Put files into a repository of models, which is made where there is none, in one commit.

    Args:
        files: Contents by name. A ``README.md`` that is there already is kept.
        repo: ``OWNER/NAME``.
        private: Whether a new repository is private.
        revision: The branch, made where there is none; None is the main one.
        message: Of the commit.

    Returns:
        The commit's address, and the names of the files that were kept.

    Raises:
        InputError: The hub refuses, or cannot be reached.
        UsageError: The name is malformed, or the client is not installed.
    """
    if not re.fullmatch(_REPO, repo):
        raise UsageError(f"{repo}: should be OWNER/NAME")
    _require_client()
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    with _one_line_errors(f"{SCHEME}{repo}", NETWORK_FILE):
        api.create_repo(repo, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        kept = tuple(
            name
            for name in files
            if name == "README.md" and api.file_exists(repo, name, revision=revision)
        )
        operations = [
            CommitOperationAdd(name, content) for name, content in files.items() if name not in kept
        ]
        commit = api.create_commit(
            repo, operations=operations, commit_message=message, revision=revision
        )
    return str(commit.commit_url), kept


def _require_client() -> None:
    if find_spec("huggingface_hub") is None:
        raise UsageError("the hub needs a package: pip install 'zerodce-jax[hub]'")


@contextmanager
def _one_line_errors(address: str, file: str) -> Iterator[None]:
    from huggingface_hub import errors

    # Which tells of each of its attempts, and then raises what comes of the last one.
    client = logging.getLogger("huggingface_hub")
    quiet = client.getEffectiveLevel() == logging.WARNING
    if quiet:
        client.setLevel(logging.ERROR)
    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(f"{address}: {one_line(error)}") from error
    except errors.LocalEntryNotFoundError as error:
        raise InputError(
            f"{address}: the hub cannot be reached, and {file} is not in the cache"
        ) from error
    except errors.GatedRepoError as error:
        raise InputError(
            f"{address}: gated; ask for access on its page, then hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{address}: no such repository, or a private one (hf auth login)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{address}: no such revision") from error
    except errors.EntryNotFoundError as error:
        raise InputError(f"{address}: holds no {file}") from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise InputError(f"{address}: not allowed with this token; hf auth login") from error
        raise InputError(f"{address}: {one_line(error)}") from error
    # Errors of the connection itself are no OSErrors, but of the library that this client is on.
    except (
        errors.HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        OSError,
        ValueError,
    ) as error:
        raise InputError(f"{address}: {one_line(error)}") from error
    finally:
        if quiet:
            client.setLevel(logging.WARNING)
