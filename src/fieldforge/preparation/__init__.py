"""Assets in, sample shards out."""
