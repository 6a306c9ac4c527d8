"""The page in the browser: the same commands for people who would rather not type."""
