"""What concepts have to do with the vocabulary of a causal model: the tokens that follow them, and those that they raise."""
