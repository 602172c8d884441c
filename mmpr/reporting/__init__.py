"""What a run explains of itself: `report.json`, the dataset card and a page for browsing its pairs."""

from mmpr.reporting.report_files import write_reports

__all__ = ["write_reports"]
