"""MPO on the pairs: L = w_p DPO + w_q BCO + w_g SFT, and the experiment that shows what they are worth."""

import os

# Read when huggingface_hub is first imported: TRL and others tell it what is used, and nobody was asked.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
