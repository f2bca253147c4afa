"""The client library and its command line against real servers, with the fault proxy in between."""
