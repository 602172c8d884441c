"""Import responses that another program made into a run folder; see `mmpr.importing.import_flow`."""
