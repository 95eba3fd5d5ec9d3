"""Statistics of tables whose cells a server never sees: exact sums under BFV, fractions at the key."""
