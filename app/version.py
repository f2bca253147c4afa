"""Which version this is: of the distribution, in metrics, and on the command line."""

VERSION = "0.1.0"
