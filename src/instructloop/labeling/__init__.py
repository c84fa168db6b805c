"""The labeling app: server-rendered pages for the people who write, rate and rank (spec B10, B16)."""
