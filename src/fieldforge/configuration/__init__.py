"""From configuration to objects: checked values, built parts, the stored configuration of a run."""
