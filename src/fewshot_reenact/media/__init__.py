"""Pictures and videos in and out: exact timestamps, sound in step, constant memory, whole files or none."""
