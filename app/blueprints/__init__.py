"""HTTP and WebSocket. Law: a view parses, calls one method, returns; who may come in is decided in `guard`, once."""
