"""MPO on the pairs: L = w_p DPO + w_q BCO + w_g SFT, and the experiment that shows what they are worth."""
