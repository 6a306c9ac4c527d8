"""One readable stream for each command, from what the user gave to what is written."""
