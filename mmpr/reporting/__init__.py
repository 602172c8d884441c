"""What a run explains of itself: `report.json`, the dataset card and a page for browsing its pairs."""
