"""Records -> predicted Dice, interval, strangeness and verdict."""
