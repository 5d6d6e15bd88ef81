"""Real data: what is trained on, and what samples are compared with."""
