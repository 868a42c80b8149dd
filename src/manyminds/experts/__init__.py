"""Experts: their system messages, and how questions are put to them."""
