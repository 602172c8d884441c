"""Train with MPO on pairs (L = w_p DPO + w_q BCO + w_g SFT), and measure in an experiment what the pairs improve."""

import os

# huggingface_hub reads this at its first import. TRL and others send usage data through it without asking the user.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
