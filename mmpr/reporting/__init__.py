"""Report on a run: `report.json`, the dataset card, and a page for browsing its pairs."""
