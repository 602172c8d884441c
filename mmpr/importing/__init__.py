"""Responses that were made elsewhere become a run folder. `mmpr.importing.import_flow` is the way in."""
