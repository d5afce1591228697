"""Enhance many files, on one machine or on many."""
