"""The run folder: attempts, commits, resume; the final dataset."""

from mmpr.run.chunk_reader import read_chunk
from mmpr.run.columns import DatasetRecipe, RunColumns, arrow_schema, dataset_features, pair_id
from mmpr.run.commit_records import (
    ChunkAccount,
    ChunkCommit,
    FileRecord,
    RowSpan,
    Splice,
    StoredImage,
    StoredQuestion,
    StoredResponse,
)
from mmpr.run.dataset import count_dataset, cut_dataset, take_census, write_shard
from mmpr.run.driver_claim import DriverClaim, claim_driver
from mmpr.run.folder import RunFolder, new_attempt
from mmpr.run.manifest import Manifest, read_manifest, write_manifest
from mmpr.run.plan import ChunkCensus, ShardPlan, Totals, plan_shards
from mmpr.run.run_reader import FinishedRun, finished_pairs, finished_run
from mmpr.run.run_record import Member, RunLayout, RunRecord, by_member
from mmpr.run.selection import DatasetOptions, Selection
from mmpr.run.verdict_counts import VerdictCounts, read_verdicts

__all__ = [
    "ChunkAccount",
    "ChunkCensus",
    "ChunkCommit",
    "DatasetOptions",
    "DatasetRecipe",
    "DriverClaim",
    "FileRecord",
    "FinishedRun",
    "Manifest",
    "Member",
    "RowSpan",
    "RunColumns",
    "RunFolder",
    "RunLayout",
    "RunRecord",
    "Selection",
    "ShardPlan",
    "Splice",
    "StoredImage",
    "StoredQuestion",
    "StoredResponse",
    "Totals",
    "VerdictCounts",
    "arrow_schema",
    "by_member",
    "claim_driver",
    "count_dataset",
    "cut_dataset",
    "dataset_features",
    "finished_pairs",
    "finished_run",
    "new_attempt",
    "pair_id",
    "plan_shards",
    "read_chunk",
    "read_manifest",
    "read_verdicts",
    "take_census",
    "write_manifest",
    "write_shard",
]
