"""Labels as discrete variables, and the estimates that are made of many of them at once."""
