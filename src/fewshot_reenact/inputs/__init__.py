"""What users give: portraits, drivers and fine-tuned persons, parsed once and then objects."""
