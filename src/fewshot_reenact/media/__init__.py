"""Files of pictures, video and sound: read, timed, written, and marked by a protocol."""
