"""Preparation of data: assets → sample shards."""
