"""The methods: each reads activations and returns concepts, tables and figures."""
