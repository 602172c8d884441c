"""The prompt of a verifier model, and the reading of its answer, for verdicts that the rules leave open. Pure."""
