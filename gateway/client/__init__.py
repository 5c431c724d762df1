"""The Python client; import it from ``gateway.client.client``."""
