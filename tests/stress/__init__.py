"""The promises of cfg.v1 under stress: real servers are troubled at random, and what each client saw is judged."""
