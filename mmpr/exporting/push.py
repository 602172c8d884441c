"""Upload a finished run as a dataset repository of the Hugging Face Hub; files that are there are not sent again.

`huggingface_hub` finds the token in its usual places (`hf auth login`, HF_TOKEN); mmpr never reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_exception, stop_after_attempt

from mmpr.errors import ConfigError, HubError, RunFolderError
from mmpr.redact import redacted
from mmpr.reporting.report_record import CARD, PAGE, REPORT
from mmpr.run import FileRecord, Manifest, RunFolder, finished_pairs
from mmpr.run.dataset import SKIPS
from mmpr.run.driver_claim import refuse_in_use
from mmpr.run.folder import CHUNKS, DATA, EXCLUDE, MANIFEST, QUESTIONS, RESPONSES, RUN, sidecar_name
from mmpr.run.verdict_counts import VERDICTS
from mmpr.run.verifier_files import VERIFIER, answers_commits, asked_chunks, commit_name
from mmpr.verification import refuse_damaged

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_DATASET = (CARD, PAGE, REPORT, MANIFEST)
_ANSWERS = (QUESTIONS, RESPONSES, CHUNKS, VERIFIER)
_OWN = (".gitattributes", CARD)  # files that a new repository may have before the first push
_UNLICENSED = "license_name: to-be-filled-in"
_COMMIT_FILES = 500
_PAUSES_S = (2.0, 8.0)
_BUSY = (408, 409, 412, 429)  # another commit is in progress, or there are too many requests
_MOST_CHARS = 300


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of an upload.

    Args:
        repo: `owner/name`.
        url: its page.
        private: whether only its owner can see it.
        changed: whether anything there is new.
        n_files, n_bytes: number and size of the run's files.
        notes: lines for the user.
    """

    repo: str
    url: str
    private: bool
    changed: bool
    n_files: int
    n_bytes: int
    notes: tuple[str, ...]


def push_run(
    folder: str,
    repo: str,
    *,
    public: bool = False,
    allow_pocket: bool = False,
    with_responses: bool = False,
    endpoint: str | None = None,
    commit_files: int = _COMMIT_FILES,
    pauses_s: Sequence[float] = _PAUSES_S,
) -> Pushed:
    """Upload a finished run. A further call sends what has changed and deletes shards that no longer exist.

    Args:
        folder: local path of the run folder.
        repo: `owner/name`, or a name under the token's own account; created if it does not exist.
        public: whether everybody may see it; an existing repository keeps its visibility.
        allow_pocket: whether a run of the pocket model may be uploaded.
        with_responses: also upload the questions, all responses and the commits, which `mmpr pair` needs.
        endpoint: address of the Hub; None: HF_ENDPOINT, else huggingface.co.
        commit_files: files per commit of responses; the dataset itself is always one commit, the last.
        pauses_s: seconds before each further try of a failed commit.

    Raises:
        ConfigError: `repo` is no repository name; or the pocket model without `allow_pocket`.
        RunFolderError: the run is unfinished, not on this machine, in use or damaged.
        HubError: no token, no write access, no network, a repository with other files, or an error of the Hub.
    """
    run = RunFolder(folder)
    manifest = _finished(run, allow_pocket=allow_pocket)
    hub = _Hub(repo, endpoint, pauses_s)
    names = _checked(run, manifest, with_responses=with_responses)
    private = hub.open(public=public)
    # a commit without changes keeps the revision: that tells whether anything is new
    before = hub.revision()
    there = hub.files()
    _refuse_foreign(hub.repo, there, with_responses=with_responses)
    answers = [name for name in names if _top(name) in _ANSWERS]
    # Responses first: a push that is cut off leaves no dataset without its responses.
    for first in range(0, len(answers), commit_files):
        hub.commit(run, answers[first : first + commit_files], [], "Responses of a run of mmpr")
    scope = (DATA, *(_ANSWERS if with_responses else ()))
    # shards of an earlier push, which had more of them
    stale = [name for name in there if _top(name) in scope and name not in names]
    hub.commit(run, [name for name in names if name not in answers], stale, "A dataset made by mmpr")
    return Pushed(
        repo=hub.repo,
        url=hub.url,
        private=private,
        changed=hub.revision() != before,
        n_files=len(names),
        n_bytes=sum(run.store.size(name) for name in names),
        notes=tuple(_notes(run, public=public, private=private)),
    )


# -- the run ----------------------------------------------------------------------------------------------------------


def _finished(run: RunFolder, *, allow_pocket: bool) -> Manifest:
    """Check what is known without reading files: the run is finished, on this machine, and of a model for training."""
    if not run.store.is_local:
        raise RunFolderError(f"{run.url} is not on this machine; copy the folder here, then push")
    finished = finished_pairs(run)
    stored = finished.record
    refuse_in_use(run)
    if not stored.selection.get("embed_images", True):
        remedy = "`mmpr pair DIR embed_images=true`, then push"
        raise ConfigError(f"{run.url} names images by paths of this machine (embed_images: false): {remedy}")
    if stored.is_pocket and not allow_pocket:
        raise ConfigError(
            f"{run.url} was made by the pocket model, which is not for training; --allow-pocket pushes it anyway"
        )
    return finished.manifest


def _checked(run: RunFolder, manifest: Manifest, *, with_responses: bool) -> list[str]:
    """Return the names of the files to upload, after checking them. Only the card may have been edited."""
    records = [*manifest.files, *(_answers(run) if with_responses else ())]
    refuse_damaged(run, (record for record in records if record.path != CARD))
    return _names(run, manifest, with_responses=with_responses)


def _answers(run: RunFolder) -> Iterator[FileRecord]:
    for commit in run.commits():
        yield commit.questions
        yield commit.responses
    for asked in answers_commits(run):
        yield asked.file


def _names(run: RunFolder, manifest: Manifest, *, with_responses: bool) -> list[str]:
    names = [*_DATASET, *(file.path for file in manifest.files if file.path.startswith(f"{DATA}/"))]
    if with_responses:
        names += [RUN, SKIPS, VERDICTS, *([EXCLUDE] if run.store.exists(EXCLUDE) else ())]
        names += [file.path for file in _answers(run)]
        names += [sidecar_name(chunk) for chunk in run.committed_chunks()]
        names += [commit_name(chunk) for chunk in asked_chunks(run)]
    if missing := next((name for name in names if not run.store.exists(name)), None):
        raise RunFolderError(f"{run.url}/{missing} is missing; `mmpr report {run.url}` writes the reports again")
    return sorted(names)


def _top(name: str) -> str:
    """Return the folder of a file, or its own name."""
    return name.partition("/")[0]


def _notes(run: RunFolder, *, public: bool, private: bool) -> Iterator[str]:
    if public and private:
        yield "the repository existed and stays private; change that in its settings on the Hub"
    if not private and _UNLICENSED in run.store.read_bytes(CARD).decode(errors="replace"):
        yield f"the card names no licence yet: run `mmpr pair {run.url} license=ID` (or fill in {CARD}) and push again"


def _refuse_foreign(repo: str, there: Sequence[str], *, with_responses: bool) -> None:
    """Refuse a repository with other files: a mistyped name must not delete another dataset's files."""
    if MANIFEST not in there:
        mine = (*_OWN, *_ANSWERS)  # a push with responses that was cut off has some of these
        if foreign := next((name for name in there if _top(name) not in mine), None):
            raise HubError(f"{repo} has files that are not of mmpr ({foreign}); choose another name")
    if not with_responses and any(name.startswith(f"{CHUNKS}/") for name in there):
        raise HubError(f"{repo} has the responses of an earlier push; give --with-responses, or choose another name")


# -- the Hub ----------------------------------------------------------------------------------------------------------


class _Hub:
    """One dataset repository; errors of the Hub become one line."""

    def __init__(self, repo: str, endpoint: str | None, pauses_s: Sequence[float]) -> None:
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not marked so

        self.repo, self.url = repo, ""
        self._api: HfApi = HfApi(endpoint=endpoint, library_name="mmpr")
        self._pauses_s = pauses_s
        with self._named_errors():
            validate_repo_id(repo)
            known = get_token() is not None
        if not known:
            raise HubError("no token for the Hub: `hf auth login`, or set HF_TOKEN to one that may write")

    def open(self, *, public: bool) -> bool:
        """Create the repository if it does not exist; return whether it is private.

        Raises:
            HubError: it exists and is public, but `public` is false.
        """
        with self._named_errors():
            self.url = str(self._api.create_repo(self.repo, repo_type="dataset", private=not public, exist_ok=True))
            self.repo = "/".join(self.url.rstrip("/").split("/")[-2:])  # a name without an owner has one now
            private = bool(self._api.repo_info(self.repo, repo_type="dataset").private)
        if not private and not public:
            raise HubError(f"{self.repo} is public: give --public to push there, or choose another name")
        return private

    def revision(self) -> str | None:
        """Return its last commit."""
        with self._named_errors():
            return self._api.repo_info(self.repo, repo_type="dataset").sha

    def files(self) -> list[str]:
        """Return the names of its files."""
        with self._named_errors():
            return list(self._api.list_repo_files(self.repo, repo_type="dataset"))

    def commit(self, run: RunFolder, names: Sequence[str], stale: Sequence[str], words: str) -> None:
        """Upload files of a run and delete others in one commit."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        def send() -> object:  # uploaded content is not sent again, but the operation objects can be used only once
            changes = [CommitOperationAdd(name, Path(run.store.path(name))) for name in names]
            gone = [CommitOperationDelete(name, is_folder=False) for name in stale]
            return self._api.create_commit(self.repo, [*gone, *changes], commit_message=words, repo_type="dataset")

        # Retry failures that may be temporary: the client retries uploads, but no commits.
        retrying = Retrying(
            stop=stop_after_attempt(len(self._pauses_s) + 1),
            wait=lambda state: [*self._pauses_s, 0.0][state.attempt_number - 1],
            retry=retry_if_exception(lambda error: isinstance(error, _faults()) and _may_pass(error)),
            reraise=True,
        )
        with self._named_errors():
            retrying(send)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        from huggingface_hub.errors import HFValidationError

        try:
            yield
        except HFValidationError:
            raise ConfigError(
                f"{redacted(self.repo)!r} is not a repository name; write owner/name with letters, digits, -, _ and ."
            ) from None
        except _faults() as error:
            raise HubError(self._words(error)) from error

    def _words(self, error: BaseException) -> str:
        status = _status(error)
        # the Hub's client raises ValueError for a card that the Hub refuses, JSONDecodeError for a broken reply
        if isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError):
            return f"the Hub refuses {self.repo} ({_one_line(error)})"
        if status == 401:
            return "the Hub does not know the token: `hf auth login`, or set HF_TOKEN to one that may write"
        if status == 403:
            return f"the token may not write to {self.repo}: it needs the right to, and a fine-grained one must name it"
        if status == 404:
            return f"{self.repo} does not exist, or this token may not see it; check owner and name"
        message = _one_line(_causes(error)[-1])
        if status is None:
            return f"the Hub at {self._api.endpoint} cannot be reached ({message}); check the network, push again"
        if not _may_pass(error):
            return f"the Hub refuses {self.repo} ({status}: {message})"
        return f"the Hub failed ({status}: {message}); push again later, what was sent is not sent again"


def _faults() -> tuple[type[BaseException], ...]:
    """Return the exceptions of huggingface_hub: the base classes of its HTTP library, and built-in ones."""
    from huggingface_hub.errors import HfHubHTTPError

    return (*HfHubHTTPError.__bases__, OSError, RuntimeError, ValueError)


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and its causes, up to the Hub client's own error; behind that are the HTTP library's."""
    from huggingface_hub.errors import HfHubHTTPError

    found = [error]
    while (cause := found[-1].__cause__) is not None and not isinstance(found[-1], HfHubHTTPError):
        found.append(cause)
    return found


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of the error or of its causes."""
    responses = (getattr(one, "response", None) for one in _causes(error))
    return next((int(response.status_code) for response in responses if response is not None), None)


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    status = _status(error)
    return not isinstance(error, ValueError) and (status is None or status >= 500 or status in _BUSY)


def _one_line(error: BaseException) -> str:
    words = getattr(error, "server_message", None) or str(error)
    return redacted(" ".join(words.split()))[:_MOST_CHARS] or type(error).__name__
