"""The whole server as it is deployed: gunicorn and its gevent workers over real Git, Valkey and OpenBao, and faults."""
