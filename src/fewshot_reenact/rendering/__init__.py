"""From a portrait and points to pictures: warp, dense motion, networks at work, and pasting at full size."""
