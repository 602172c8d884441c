"""Download data sets from the Hugging Face Hub: `hf://owner/name:split` -> files in the Hub client's own cache.

Parquet files of a repository are downloaded unchanged; other repositories are written as Arrow by `datasets`, which
runs no code of the repository. Cached files are not downloaded again; `HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN` are used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmpr.errors import SourceError

if TYPE_CHECKING:
    from datasets import DatasetBuilder

_SPEC = re.compile(
    r"hf://(?:datasets/)?(?P<name>[^/:@]+/[^/:@]+)(?:@(?P<revision>[^/:]+))?(?:/(?P<config>[^/:@]+))?:(?P<split>[\w.-]+)"
)


@dataclass(frozen=True, slots=True)
class HubName:
    """The parts of an `hf://` address."""

    name: str
    revision: str | None
    config: str | None
    split: str


def hub_name(address: str) -> HubName:
    """Parse `hf://owner/name[@revision][/config]:split`; raises `SourceError` for another form."""
    found = _SPEC.fullmatch(address)
    if not found:
        raise SourceError(f"{address}: write hf://owner/name:split or hf://owner/name/config:split")
    return HubName(**found.groupdict())


def fetched(address: str) -> list[Path]:
    """Return the local files of one split, in its order.

    Raises:
        SourceError: the Hub does not answer, or has no such data set, configuration or split.
    """
    wanted = hub_name(address)
    import datasets

    try:
        builder = datasets.load_dataset_builder(wanted.name, wanted.config, revision=wanted.revision)
        return _parquet_files(builder, wanted) or _arrow_files(builder, wanted)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"{address}: cannot be fetched ({reason[:300]}): check the name and the network") from error


def _parquet_files(builder: DatasetBuilder, wanted: HubName) -> list[Path]:
    """Download the repository's own files, if they are Parquet."""
    from huggingface_hub import hf_hub_download

    files = builder.config.data_files
    # `datasets` converts all other formats, so only Parquet is read as it is
    if type(builder).__module__.rsplit(".", 1)[-1] != "parquet" or not files:
        return []
    if wanted.split not in files:
        raise ValueError(f"its splits are {', '.join(map(str, files))}")
    start = f"hf://datasets/{wanted.name}@"
    if not all(url.startswith(start) for url in files[wanted.split]):
        return []
    # an address is COMMIT/PATH: the commit is downloaded that the builder has looked up
    places = [url.removeprefix(start).partition("/") for url in files[wanted.split]]
    return [
        Path(hf_hub_download(wanted.name, path, repo_type="dataset", revision=commit)) for commit, _, path in places
    ]


def _arrow_files(builder: DatasetBuilder, wanted: HubName) -> list[Path]:
    builder.download_and_prepare()
    if wanted.split not in builder.info.splits:
        raise ValueError(f"its splits are {', '.join(map(str, builder.info.splits))}")
    return [Path(file["filename"]) for file in builder.as_dataset(split=wanted.split).cache_files]
