"""Pictures → sample shards."""
