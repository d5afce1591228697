"""Metrics of networks and of enhanced images, and reports of them."""
