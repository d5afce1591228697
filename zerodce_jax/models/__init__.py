"""Networks, and the files that they are stored in."""
