"""Who is asking: JWTs of the gateway and of an identity provider, API tokens, roles."""
