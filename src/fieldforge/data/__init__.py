"""Shards: schema, writing, exact streaming, batches."""
