"""The numbers that the design promises, measured on real parts and compared with a floor of the same run.

Everything listens on 127.0.0.1, ends by itself, and leaves nothing but the JSON in bench/results. The server, the load
and the floor are processes of their own, so that none of them waits for another's interpreter.
"""
