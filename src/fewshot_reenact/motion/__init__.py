"""Points over time: motions, their files, the built-in ones, smoothing and retargeting."""
