"""The engine as its readers meet it: a whole server over real Git and a real OpenBao."""
