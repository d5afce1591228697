"""Many files, on one machine or many."""
