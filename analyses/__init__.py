"""The methods by family: each reads activations and returns concepts, tables and figures."""
