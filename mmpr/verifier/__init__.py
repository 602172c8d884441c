"""What a verifier model is asked about the verdicts that the rules leave open, and how its letters are read. Pure."""
