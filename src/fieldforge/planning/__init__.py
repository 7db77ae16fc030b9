"""The cost of a training before it starts: parameters, operations, memory and days, computed without hardware."""
