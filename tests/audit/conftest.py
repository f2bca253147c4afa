from tests.valkeys import link, make_link, own_valkey, valkey

__all__ = ["link", "make_link", "own_valkey", "valkey"]
