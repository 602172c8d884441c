"""Export the pairs of a finished run in each trainer's own format, checked row by row."""

from mmpr.exporting.export_flow import export_run
from mmpr.exporting.export_records import Counts, Format, LeftOut, Unfit

__all__ = ["Counts", "Format", "LeftOut", "Unfit", "export_run"]
