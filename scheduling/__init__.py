"""The rules: plain values and functions, without I/O, Thespian, clocks or randomness of their own."""
