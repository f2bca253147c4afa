"""Config Server: central configuration for microservices."""
