"""Drawing answers: the protocol (sampler.py) and the in-process sampler over a Hugging Face model."""
