"""What a training needs, before it is paid for: parameters, operations, memory and days, found without hardware."""
