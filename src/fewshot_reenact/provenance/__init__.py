"""The marks that say how an output was made: label, watermark, signature, tags, and how they are read back."""
