"""The model being trained: what the step may ask of it (policy.py), and the Hugging Face one (hf_policy.py)."""
