"""How good a network is: metrics, and tables of them."""
