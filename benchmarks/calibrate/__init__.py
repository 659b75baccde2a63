"""What the calibration draws: worlds whose truth is known, and what every score of the product says in them."""
