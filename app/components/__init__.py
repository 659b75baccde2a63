"""Components that pages are made of."""
