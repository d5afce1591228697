"""Networks, and the files that store them."""
